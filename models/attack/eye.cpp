/* Looks through kernels and transforms; see the header.
 *
 * The photo as it is has a way of its own: only the pixels that the target's input is made of are
 * computed (kernels/resample.h), which is what an attack without transforms lives on.
 */
#include "models/attack/eye.h"

#include <algorithm>
#include <cmath>

#include "models/attack/passage.h"

namespace cloak {

std::vector<int> distinct_inputs(const Target &target, int width, int height) {
    std::vector<int> distinct;
    std::vector<InputShape> shapes;
    for (int which = 0; which < target.inputs(); which++) {
        const InputShape shape = target.input_shape(width, height, 1, which);
        auto same = [&shape](const InputShape &other) {
            return other.width == shape.width && other.height == shape.height;
        };
        if (std::none_of(shapes.begin(), shapes.end(), same)) {
            shapes.push_back(shape);
            distinct.push_back(which);
        }
    }
    return distinct;
}

Eye::Eye(const Target &target, int which, int width, int height, int grid_width, int grid_height)
    : target_(target), which_(which), shape_(target.input_shape(width, height, 1, which)),
      view_(width, height, grid_width, grid_height, shape_.width, shape_.height),
      input_(torch::zeros({1, 3, shape_.padded_height, shape_.padded_width})) {}

Look Eye::look_raw(const Scene &scene, const Ask &ask, std::vector<float> &gradient) {
    const int64_t stride = shape_.padded_width, plane = stride * shape_.padded_height;
    view_forward(view_, scene.decoded ? scene.decoded : scene.rgb,
        scene.decoded ? nullptr : scene.delta, scene.bound, scene.lattice, target_.mean(),
        target_.std(), input_.data_ptr<float>(), int(stride), plane);
    Look seen = target_.look(input_, shape_, view_.width, view_.height, ask);
    if (seen.gradient.defined()) {
        torch::Tensor grad = seen.gradient.contiguous();
        view_backward(
            view_, grad.data_ptr<float>(), int(stride), plane, target_.std(), gradient.data());
    }
    return seen;
}

Look Eye::look_through(const Scene &scene, const cloak_transform &transform, const Ask &ask,
    std::vector<float> &gradient) {
    photo_.resize(size_t(3) * size_t(view_.width) * size_t(view_.height));
    if (scene.decoded)
        view_photo(view_, scene.decoded, nullptr, 0, true, photo_.data());
    else
        view_photo(view_, scene.rgb, scene.delta, scene.bound, scene.lattice, photo_.data());
    Passage passage(target_, which_, transform, view_.width, view_.height);
    Look seen = target_.look(passage.forward(photo_.data()), passage.shape(), view_.width,
        view_.height, ask);
    if (seen.gradient.defined()) {
        passage.backward(seen.gradient, photo_.data());
        view_photo_backward(view_, photo_.data(), gradient.data());
    }
    return seen;
}

std::vector<Found> Eye::look(const Scene &scene, const cloak_transform &transform, const Ask &ask,
    std::vector<float> &gradient, bool *has_gradient) {
    if (ask.loss)
        gradient.resize(size_t(3) * size_t(view_.grid_width) * size_t(view_.grid_height));
    Look seen = is_raw(transform) ? look_raw(scene, ask, gradient)
                                  : look_through(scene, transform, ask, gradient);
    *has_gradient = false;
    if (!seen.gradient.defined())
        return seen.found;
    double sum = 0;
    for (float g : gradient)
        sum += std::fabs(g);
    if (!(sum > 0))
        return seen.found;
    const float scale = float(double(gradient.size()) / sum);
    for (float &g : gradient)
        g *= scale;
    *has_gradient = true;
    return seen.found;
}

} // namespace cloak
