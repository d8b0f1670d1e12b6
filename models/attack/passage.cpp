/* Transforms as stages of kernels; see the header. */
#include "models/attack/passage.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <ATen/ATen.h>

namespace cloak {

void Passage::Stage::forward(const float *in, std::vector<float> &out) const {
    out.resize(size_t(3) * size_t(out_width) * size_t(out_height));
    separable_apply(x, y, 3, in, in_width, in_width, int64_t(in_width) * in_height, out.data());
}

void Passage::Stage::backward(const float *in, int64_t stride, int64_t plane, float *out) const {
    separable_apply(
        transposed(x, in_width), transposed(y, in_height), 3, in, out_width, stride, plane, out);
}

void Passage::add_stage(SparseRows x, SparseRows y) {
    Stage stage = {width_, height_, x.count(), y.count(), std::move(x), std::move(y)};
    width_ = stage.out_width;
    height_ = stage.out_height;
    stages_.push_back(std::move(stage));
}

static int scaled(int size, float factor) {
    return std::max(1, int(std::lround(double(size) * double(factor))));
}

Passage::Passage(const Target &target, int which, const cloak_transform &transform, int width,
    int height)
    : target_(target), width_(width), height_(height) {
    if (transform.shrink < 1) {
        const int w = scaled(width, transform.shrink), h = scaled(height, transform.shrink);
        add_stage(lanczos_rows(width, w), lanczos_rows(height, h));
    }
    if (transform.blur > 0)
        add_stage(gauss_rows(width_, transform.blur), gauss_rows(height_, transform.blur));
    if (const int quality = std::max(transform.quality, transform.whole))
        jpeg_ = std::make_unique<Jpeg>(width_, height_, quality, transform.whole == 0);
    shape_ = target.input_shape(width_, height_, transform.view, which);
    last_ = {width_, height_, shape_.width, shape_.height, bilinear_rows(width_, shape_.width),
        bilinear_rows(height_, shape_.height)};
}

static void round_all(std::vector<float> &values) {
#pragma omp parallel for simd
    for (size_t i = 0; i < values.size(); i++)
        values[i] = std::min(std::max(std::nearbyint(values[i]), 0.0f), 255.0f);
}

torch::Tensor Passage::forward(const float *photo) {
    std::vector<float> at, next;
    const float *now = photo;
    for (const Stage &stage : stages_) {
        stage.forward(now, next);
        round_all(next);
        at.swap(next);
        now = at.data();
    }
    if (jpeg_) {
        next.resize(size_t(3) * size_t(width_) * size_t(height_));
        jpeg_->forward(now, next.data());
        at.swap(next);
        now = at.data();
    }
    last_.forward(now, next);
    torch::Tensor input = torch::zeros({1, 3, shape_.padded_height, shape_.padded_width});
    float *to = input.data_ptr<float>();
    for (int c = 0; c < 3; c++) {
        const float mean = target_.mean()[c], std_ = target_.std()[c];
        for (int y = 0; y < shape_.height; y++) {
            const float *from = &next[size_t(c * shape_.height + y) * size_t(shape_.width)];
            float *row = to + (int64_t(c) * shape_.padded_height + y) * shape_.padded_width;
            for (int x = 0; x < shape_.width; x++)
                row[x] = (from[x] / 255.0f - mean) / std_;
        }
    }
    return input;
}

void Passage::backward(const torch::Tensor &grad, float *photo) {
    torch::Tensor plain = grad.contiguous();
    const size_t pixels = size_t(width_) * size_t(height_);
    std::vector<float> at(pixels * 3), next;
    const int64_t stride = shape_.padded_width;
    const bool direct = stages_.empty() && !jpeg_;
    float *first = direct ? photo : at.data();
    last_.backward(plain.data_ptr<float>(), stride, stride * shape_.padded_height, first);
    for (size_t c = 0; c < 3; c++)
        for (size_t i = 0; i < pixels; i++)
            first[c * pixels + i] /= 255.0f * target_.std()[c];
    if (direct)
        return;
    if (jpeg_) {
        next.resize(at.size());
        jpeg_->backward(at.data(), next.data());
        at.swap(next);
    }
    for (size_t i = stages_.size(); i > 0; i--) {
        const Stage &stage = stages_[i - 1];
        next.resize(size_t(3) * size_t(stage.in_width) * size_t(stage.in_height));
        stage.backward(
            at.data(), stage.out_width, int64_t(stage.out_width) * stage.out_height, next.data());
        at.swap(next);
    }
    std::copy(at.begin(), at.end(), photo);
}

} // namespace cloak
