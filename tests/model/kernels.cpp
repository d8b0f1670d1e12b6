/* The kernels against slow and obvious versions of themselves. */
#include "models/detector/boxes.h"
#include "models/detector/vote.h"
#include "models/kernels/cuda/roi_align_thread.h"
#include "models/kernels/gate.h"
#include "models/kernels/jpeg.h"
#include "models/kernels/nms.h"
#include "models/kernels/places.h"
#include "models/kernels/resample.h"
#include "models/kernels/roi_align.h"
#include "models/kernels/separable.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>

using namespace cloak;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            std::fprintf(stderr, "FAILED %s:%d: %s\n", __FILE__, __LINE__, #condition);            \
            std::exit(1);                                                                          \
        }                                                                                          \
    } while (0)

static std::mt19937 random_bits(7);

static std::vector<float> noise(size_t n) {
    std::normal_distribution<float> normal;
    std::vector<float> values(n);
    for (float &v : values)
        v = normal(random_bits);
    return values;
}

static std::vector<uint8_t> pixels(size_t n) {
    std::vector<uint8_t> values(n);
    for (uint8_t &v : values)
        v = uint8_t(random_bits() % 256);
    return values;
}

static const float mean[3] = {0.5f, 0.4f, 0.3f}, std_[3] = {0.5f, 0.6f, 0.7f};

/* What the loop sees of photo and perturbation is what the detector sees of the delivered photo. */
static void the_loop_sees_what_is_delivered(int w, int h, int gw, int gh, int iw, int ih) {
    View view(w, h, gw, gh, iw, ih);
    std::vector<uint8_t> photo = pixels(size_t(w) * size_t(h) * 3), delivered(photo.size());
    std::vector<int8_t> levels(size_t(gw) * size_t(gh) * 3);
    std::vector<float> delta(levels.size());
    const size_t plane = size_t(gw) * size_t(gh);
    for (size_t i = 0; i < plane; i++)
        for (size_t c = 0; c < 3; c++) {
            levels[i * 3 + c] = int8_t(int(random_bits() % 21) - 10);
            delta[c * plane + i] = float(levels[i * 3 + c]);
        }
    const size_t input = size_t(iw) * size_t(ih);
    std::vector<float> in_loop(input * 3), after(input * 3);
    view_forward(view, photo.data(), delta.data(), 5, true, mean, std_, in_loop.data(), iw,
        int64_t(input));
    view_apply(view, photo.data(), levels.data(), 5, delivered.data());
    view_forward(view, delivered.data(), nullptr, 0, true, mean, std_, after.data(), iw,
        int64_t(input));
    CHECK(in_loop == after);
    for (size_t i = 0; i < photo.size(); i++)
        CHECK(std::abs(int(photo[i]) - int(delivered[i])) <= 5);
}

/* <A x, y> = <x, Aᵀ y> for the linear part of the view. */
static void the_backward_pass_is_the_adjoint(int w, int h, int gw, int gh, int iw, int ih) {
    View view(w, h, gw, gh, iw, ih);
    const size_t plane = size_t(gw) * size_t(gh), input = size_t(iw) * size_t(ih);
    std::vector<float> x = noise(plane * 3), y = noise(input * 3), back(plane * 3);
    std::vector<double> ax(input * 3);
    for (size_t c = 0; c < 3; c++)
        for (int i = 0; i < ih; i++)
            for (int j = 0; j < iw; j++) {
                double sum = 0;
                for (int s = 0; s < 4; s++) {
                    size_t py = size_t(s & 2 ? view.sample_y.second[size_t(i)]
                                             : view.sample_y.first[size_t(i)]);
                    size_t px = size_t(s & 1 ? view.sample_x.second[size_t(j)]
                                             : view.sample_x.first[size_t(j)]);
                    double weight =
                        (s & 2 ? view.sample_y.weight[size_t(i)]
                               : 1 - view.sample_y.weight[size_t(i)]) *
                        (s & 1 ? view.sample_x.weight[size_t(j)]
                               : 1 - view.sample_x.weight[size_t(j)]);
                    for (int t = 0; t < 4; t++) {
                        size_t gy = size_t(
                            t & 2 ? view.enlarge_y.second[py] : view.enlarge_y.first[py]);
                        size_t gx = size_t(
                            t & 1 ? view.enlarge_x.second[px] : view.enlarge_x.first[px]);
                        double share = (t & 2 ? view.enlarge_y.weight[py]
                                              : 1 - view.enlarge_y.weight[py]) *
                                       (t & 1 ? view.enlarge_x.weight[px]
                                              : 1 - view.enlarge_x.weight[px]);
                        sum += weight * share * double(x[c * plane + gy * size_t(gw) + gx]);
                    }
                }
                ax[c * input + size_t(i) * size_t(iw) + size_t(j)] = sum / (255 * double(std_[c]));
            }
    view_backward(view, y.data(), iw, int64_t(input), std_, back.data());
    double left = 0, right = 0;
    for (size_t i = 0; i < ax.size(); i++)
        left += ax[i] * double(y[i]);
    for (size_t i = 0; i < x.size(); i++)
        right += double(x[i]) * double(back[i]);
    CHECK(std::fabs(left - right) < 1e-4 * (std::fabs(left) + 1));
}

/* What view_photo gives is what view_apply delivers, and its gradient goes the other way. */
static void the_whole_photo_is_what_is_delivered(int w, int h, int gw, int gh) {
    View view(w, h, gw, gh, 8, 8);
    const size_t plane = size_t(w) * size_t(h), cells = size_t(gw) * size_t(gh);
    std::vector<uint8_t> photo = pixels(plane * 3), delivered(photo.size());
    std::vector<int8_t> levels(cells * 3);
    std::vector<float> delta(cells * 3), planes(plane * 3);
    for (size_t i = 0; i < cells; i++)
        for (size_t c = 0; c < 3; c++) {
            levels[i * 3 + c] = int8_t(int(random_bits() % 21) - 10);
            delta[c * cells + i] = float(levels[i * 3 + c]);
        }
    view_apply(view, photo.data(), levels.data(), 5, delivered.data());
    view_photo(view, photo.data(), delta.data(), 5, true, planes.data());
    for (size_t i = 0; i < plane; i++)
        for (size_t c = 0; c < 3; c++)
            CHECK(planes[c * plane + i] == float(delivered[i * 3 + c]));
    const std::vector<uint8_t> grey(plane * 3, 128); /* nothing is clipped */
    std::vector<float> x = noise(cells * 3), y = noise(plane * 3), back(cells * 3);
    view_photo(view, grey.data(), x.data(), 100, false, planes.data());
    view_photo_backward(view, y.data(), back.data());
    double left = 0, right = 0;
    for (size_t i = 0; i < y.size(); i++)
        left += (double(planes[i]) - 128) * double(y[i]);
    for (size_t i = 0; i < x.size(); i++)
        right += double(x[i]) * double(back[i]);
    CHECK(std::fabs(left - right) < 1e-3 * (std::fabs(left) + 1));
}

static double dot(const std::vector<float> &a, const std::vector<float> &b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); i++)
        sum += double(a[i]) * double(b[i]);
    return sum;
}

/* Keeps what does not change, mirrors what is mirrored, and has a transpose. */
static void a_linear_map_is_what_it_says(SparseRows (*make)(int in, int out), int in, int out) {
    const SparseRows rows = make(in, out), back = transposed(rows, in), one = make(1, 1);
    CHECK(rows.count() == out && back.count() == in);
    std::vector<float> flat(size_t(in), 3.5f), x = noise(size_t(in)), mirrored(x.rbegin(), x.rend());
    std::vector<float> to(static_cast<size_t>(out)), turned(to.size()), y = noise(to.size()), from(x.size());
    separable_apply(rows, one, 1, flat.data(), in, in, in, to.data());
    for (float value : to)
        CHECK(std::fabs(value - 3.5f) < 1e-4f);
    separable_apply(rows, one, 1, mirrored.data(), in, in, in, turned.data());
    separable_apply(rows, one, 1, x.data(), in, in, in, to.data());
    for (size_t i = 0; i < to.size(); i++)
        CHECK(std::fabs(to[i] - turned[to.size() - 1 - i]) < 1e-4f);
    separable_apply(back, one, 1, y.data(), out, out, out, from.data());
    CHECK(std::fabs(dot(to, y) - dot(x, from)) < 1e-4 * (std::fabs(dot(to, y)) + 1));
}

static SparseRows slightly_blurred(int in, int) {
    return gauss_rows(in, 1.3f);
}

/* Rows and columns at once, against the double sum; the input has a margin. */
static void rows_and_columns_multiply() {
    const int w = 9, h = 7, stride = 12;
    const SparseRows x = lanczos_rows(w, 5), y = bilinear_rows(h, 11);
    const std::vector<float> in = noise(2 * 8 * stride);
    std::vector<float> out(2 * 11 * 5);
    separable_apply(x, y, 2, in.data(), w, stride, 8 * stride, out.data());
    for (int p = 0; p < 2; p++)
        for (int r = 0; r < 11; r++)
            for (int c = 0; c < 5; c++) {
                double sum = 0;
                for (int k = y.start[size_t(r)]; k < y.start[size_t(r) + 1]; k++)
                    for (int l = x.start[size_t(c)]; l < x.start[size_t(c) + 1]; l++)
                        sum += double(y.weight[size_t(k)]) * double(x.weight[size_t(l)]) *
                               double(in[size_t((p * 8 + y.column[size_t(k)]) * stride +
                                                x.column[size_t(l)])]);
                CHECK(std::fabs(sum - double(out[size_t((p * 11 + r) * 5 + c)])) < 1e-4);
            }
}

/* JPEG's gradient is linear in what comes in, and where no coefficient is rounded down to nothing it
 * points the way the picture went: the picture that a step along it makes costs less. */
static void jpeg_has_a_gradient(int w, int h, bool halved) {
    const size_t count = size_t(w) * size_t(h) * 3;
    Jpeg jpeg(w, h, 75, halved);
    std::vector<float> photo(count), seen(count), wanted(count), grad(count), back(count), twice(count);
    for (size_t i = 0; i < count; i++) {
        photo[i] = float(random_bits() % 200 + 20);
        wanted[i] = float(random_bits() % 256);
    }
    auto cost = [&]() {
        double sum = 0;
        jpeg.forward(photo.data(), seen.data());
        for (size_t i = 0; i < count; i++)
            sum += std::pow(double(seen[i]) - double(wanted[i]), 2);
        return sum;
    };
    const double before = cost();
    for (int step = 0; step < 20; step++) {
        for (size_t i = 0; i < count; i++)
            grad[i] = seen[i] - wanted[i];
        jpeg.backward(grad.data(), back.data());
        for (size_t i = 0; i < count; i++)
            photo[i] = std::min(std::max(photo[i] - 0.5f * back[i], 0.0f), 255.0f);
        cost();
    }
    CHECK(cost() < before * (halved ? 0.7 : 0.4));
    for (float &g : grad)
        g *= 2;
    jpeg.backward(grad.data(), twice.data());
    for (float &g : grad)
        g /= 2;
    jpeg.backward(grad.data(), back.data());
    for (size_t i = 0; i < count; i++)
        CHECK(std::fabs(twice[i] - 2 * back[i]) < 1e-3f);
}

/* A flat grey stays as it is at any quality; all values are whole. */
static void jpeg_keeps_what_is_flat() {
    const int w = 21, h = 18;
    std::vector<float> photo(size_t(w * h * 3), 97.0f), seen(photo.size());
    for (int quality : {10, 50, 75, 95, 100}) {
        Jpeg(w, h, quality, true).forward(photo.data(), seen.data());
        for (float value : seen)
            CHECK(std::fabs(value - 97) <= (quality < 50 ? 10 : 1) && value == std::nearbyint(value));
    }
}

static void roi_align_backward_is_the_adjoint() {
    const int channels = 21, height = 13, width = 17, count = 6, bins = 7, samples = 2;
    const float boxes[count * 4] = {0, 0, 60, 50, 3.5f, 7.25f, 20, 44, -20, -20, 10, 10, 30, 30,
        30.5f, 30.5f, 60, 40, 90, 80, 200, 200, 220, 230};
    std::vector<float> x = noise(size_t(channels * height * width));
    std::vector<float> y = noise(size_t(count * channels * bins * bins)), pooled(y.size());
    std::vector<float> back(x.size());
    cloak_roi_align_forward(x.data(), channels, height, width, boxes, count, 0.25f, bins, samples,
        pooled.data());
    cloak_roi_align_backward(y.data(), channels, height, width, boxes, count, 0.25f, bins, samples,
        back.data());
    double left = 0, right = 0;
    for (size_t i = 0; i < y.size(); i++)
        left += double(pooled[i]) * double(y[i]);
    for (size_t i = 0; i < x.size(); i++)
        right += double(x[i]) * double(back[i]);
    CHECK(std::fabs(left - right) < 1e-3 * (std::fabs(left) + 1));
    CHECK(std::fabs(left) > 1);
}

/* A grid of threads in some order, as a GPU would run it: pools `x`, and brings `y` back to the map. */
static void run_as_gpu(const RoiWork &work, const std::vector<float> &x, const std::vector<float> &y,
    std::vector<float> &pooled, std::vector<float> &back) {
    std::vector<int64_t> order(size_t(work.threads()));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random_bits);
    float greatest = 0;
    for (float g : y)
        greatest = std::isnan(g) ? g : std::max(greatest, std::fabs(g));
    const double scale = roi_whole_scale(greatest);
    std::vector<long long> sums(x.size(), 0);
    for (int64_t index : order) {
        roi_forward_thread(work, index, x.data(), pooled.data());
        roi_backward_thread(work, index, y.data(), scale, sums.data(),
            [](long long *sum, long long number) { *sum += number; });
    }
    for (size_t i = 0; i < x.size(); i++)
        back[i] = roi_from_whole(sums[i], scale);
}

static void roi_align_on_a_gpu_is_the_same() {
    const int channels = 21, height = 13, width = 17, count = 6, bins = 7, samples = 2;
    const float boxes[count * 4] = {0, 0, 60, 50, 3.5f, 7.25f, 20, 44, -20, -20, 10, 10, 30, 30,
        30.5f, 30.5f, 60, 40, 90, 80, 200, 200, 220, 230};
    const RoiWork work = {boxes, 0.25f, channels, height, width, count, bins, samples};
    for (float size : {1e-30f, 1.0f, 1e30f}) {
        const std::vector<float> x = noise(size_t(channels * height * width));
        std::vector<float> y = noise(size_t(count * channels * bins * bins)), pooled(y.size()), other(y.size());
        std::vector<float> back(x.size(), 0.0f), first(x.size()), second(x.size());
        for (float &g : y)
            g *= size;
        cloak_roi_align_forward(
            x.data(), channels, height, width, boxes, count, 0.25f, bins, samples, pooled.data());
        cloak_roi_align_backward(
            y.data(), channels, height, width, boxes, count, 0.25f, bins, samples, back.data());
        run_as_gpu(work, x, y, other, first);
        CHECK(other == pooled);
        run_as_gpu(work, x, y, other, second);
        CHECK(first == second);
        for (size_t i = 0; i < x.size(); i++)
            CHECK(std::fabs(first[i] - back[i]) <= 1e-5f * size);
        std::fill(y.begin(), y.end(), 0.0f);
        run_as_gpu(work, x, y, other, first);
        CHECK(std::all_of(first.begin(), first.end(), [](float g) { return g == 0; }));
        y[3] = NAN; /* nobody takes it for silence */
        run_as_gpu(work, x, y, other, first);
        CHECK(std::all_of(first.begin(), first.end(), [](float g) { return std::isnan(g); }));
    }
}

static void nms_keeps_the_best_of_each_heap() {
    const float boxes[] = {0, 0, 10, 10, 1, 1, 11, 11, 50, 50, 60, 60, 0, 0, 10, 10, 0, 0, 10, 5};
    const float scores[] = {0.8f, 0.9f, 0.1f, 0.8f, 0.7f};
    const int32_t groups[] = {0, 0, 0, 1, 0};
    int32_t kept[5];
    CHECK(cloak_nms(boxes, scores, nullptr, 5, 0.5f, 5, kept) == 3);
    CHECK(kept[0] == 1 && kept[1] == 4 && kept[2] == 2); /* IoU .68 goes, .41 stays */
    CHECK(cloak_nms(boxes, scores, groups, 5, 0.5f, 5, kept) == 4);
    CHECK(kept[0] == 1 && kept[1] == 3);
    CHECK(cloak_nms(boxes, scores, nullptr, 5, 0.5f, 1, kept) == 1);
    CHECK(cloak_nms(boxes, scores, nullptr, 0, 0.5f, 5, kept) == 0);
}

/* Two candidates agree, one is elsewhere, one overlaps too little: worked out by hand. */
static void votes_place_a_box() {
    const std::vector<float> boxes = {0, 0, 10, 10, 0, 0, 10, 8, 40, 40, 50, 50, 0, 0, 10, 4};
    const std::vector<float> scores = {0.8f, 0.5f, 0.9f, 0.7f};
    const int32_t kept[] = {2, 0};
    CHECK(std::fabs(box_iou(&boxes[0], &boxes[4]) - 0.8f) < 1e-6f);
    CHECK(box_iou(&boxes[0], &boxes[8]) == 0);
    const std::vector<float> placed = vote_boxes(boxes, scores, kept, 2, 0.5f);
    CHECK(placed.size() == 8);
    for (size_t j = 0; j < 4; j++)
        CHECK(std::fabs(placed[j] - boxes[8 + j]) < 1e-4f); /* nobody else votes for it */
    /* lower edge: (0.8 · 10 + 0.5 · 0.8² · 8) / (0.8 + 0.5 · 0.8²) */
    CHECK(std::fabs(placed[6] - 10) < 1e-4f);
    CHECK(std::fabs(placed[7] - 10.56f / 1.12f) < 1e-4f);
}

static uint16_t upper_half(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return uint16_t(bits >> 16);
}

static void gates_pass_where_the_rectifier_did() {
    const float results[] = {0, 1e-30f, 0.5f, 5.96875f, 6, 7, 0}, slopes[] = {1, 2, -3, 4, 5, 6, -7};
    const int count = 7;
    uint16_t short_results[count], short_slopes[count], short_out[count];
    float out[count];
    for (int i = 0; i < count; i++) {
        short_results[i] = upper_half(results[i]);
        short_slopes[i] = upper_half(slopes[i]);
    }
    for (bool six : {false, true}) {
        gate_float(slopes, results, six, count, out);
        gate_bfloat16(short_slopes, short_results, six, count, short_out);
        for (int i = 0; i < count; i++) {
            const bool passes = results[i] > 0 && (!six || results[i] < 6);
            CHECK(out[i] == (passes ? slopes[i] : 0));
            CHECK(short_out[i] == (passes ? short_slopes[i] : 0));
        }
    }
    gate_float(slopes, slopes, false, count, out); /* negative results do not occur, but do not pass */
    CHECK(out[2] == 0 && out[3] == 4);
}

/* Adding the windows of the places that are not zero is adding the windows of all. */
static void few_places_stand_for_all(int kernel) {
    const int height = 5, width = 7, channels = 40, area = height * width, window = kernel * kernel;
    std::vector<float> map(size_t(area * channels), -0.0f), weights = noise(size_t(window * channels));
    const std::vector<int32_t> filled = {0, 6, 17, 18, 34};
    for (int32_t place : filled)
        map[size_t(place * channels + place)] = float(place + 1);
    std::vector<int32_t> found(6, -1);
    CHECK(cloak_find_places(map.data(), area, channels, 0, nullptr) == 1);
    CHECK(cloak_find_places(map.data(), area, channels, 3, found.data()) == 4);
    CHECK(found[2] == 17 && found[3] == -1);
    CHECK(cloak_find_places(map.data(), area, channels, 5, found.data()) == 5);
    CHECK(cloak_find_places(map.data(), area, channels, 6, found.data()) == 5 && found[5] == -1);
    found.resize(5);
    CHECK(found == filled);

    /* One filter: what a place holds, times the weights. */
    auto held = [&](int place) {
        float sum = 0;
        for (int c = 0; c < channels; c++)
            sum += map[size_t(place * channels + c)];
        return sum;
    };
    std::vector<float> taps, few(size_t(area * channels), 1.0f), all = few;
    for (int32_t place : found)
        for (float weight : weights)
            taps.push_back(held(place) * weight);
    cloak_add_windows(taps.data(), found.data(), 5, kernel, height, width, channels, few.data());
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int k = 0; k < window; k++) {
                const int fy = y - (k / kernel - kernel / 2), fx = x - (k % kernel - kernel / 2);
                if (fy < 0 || fy >= height || fx < 0 || fx >= width)
                    continue;
                for (int c = 0; c < channels; c++)
                    all[size_t((y * width + x) * channels + c)] +=
                        held(fy * width + fx) * weights[size_t(k * channels + c)];
            }
    for (size_t i = 0; i < all.size(); i++)
        CHECK(std::fabs(few[i] - all[i]) < 1e-4f);
}

int main() {
    the_loop_sees_what_is_delivered(101, 67, 64, 43, 64, 43);  /* larger than the input */
    the_loop_sees_what_is_delivered(50, 40, 50, 40, 128, 102); /* smaller */
    the_loop_sees_what_is_delivered(64, 43, 64, 43, 64, 43);   /* the same */
    the_loop_sees_what_is_delivered(1, 1, 1, 1, 8, 8);
    the_backward_pass_is_the_adjoint(101, 67, 64, 43, 64, 43);
    the_backward_pass_is_the_adjoint(23, 31, 23, 31, 64, 86);
    the_backward_pass_is_the_adjoint(90, 90, 30, 45, 60, 20); /* three different sizes */
    the_whole_photo_is_what_is_delivered(101, 67, 64, 43);
    the_whole_photo_is_what_is_delivered(33, 21, 33, 21);
    for (int out : {5, 40, 64, 97}) {
        a_linear_map_is_what_it_says(bilinear_rows, 64, out);
        a_linear_map_is_what_it_says(lanczos_rows, 64, out);
    }
    a_linear_map_is_what_it_says(slightly_blurred, 31, 31);
    rows_and_columns_multiply();
    jpeg_keeps_what_is_flat();
    jpeg_has_a_gradient(40, 33, true);
    jpeg_has_a_gradient(37, 24, false);
    roi_align_backward_is_the_adjoint();
    roi_align_on_a_gpu_is_the_same();
    nms_keeps_the_best_of_each_heap();
    votes_place_a_box();
    gates_pass_where_the_rectifier_did();
    few_places_stand_for_all(3);
    few_places_stand_for_all(1);
    std::puts("kernel tests passed");
    return 0;
}
