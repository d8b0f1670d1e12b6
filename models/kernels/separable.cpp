/* Linear maps along rows and columns; see the header. */
#include "models/kernels/separable.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace cloak {

/* Builds a matrix row by row; weights of one column add up. */
class Builder {
  public:
    void add(int column, float weight) {
        row_[column] += weight;
    }
    /* Ends the row; its weights are scaled to a sum of 1. */
    void end_row() {
        float sum = 0;
        for (auto &entry : row_)
            sum += entry.second;
        rows_.start.push_back(int(rows_.column.size()));
        for (auto &entry : row_)
            if (entry.second != 0) {
                rows_.column.push_back(entry.first);
                rows_.weight.push_back(entry.second / sum);
            }
        row_.clear();
    }
    SparseRows done() {
        rows_.start.push_back(int(rows_.column.size()));
        return rows_;
    }

  private:
    std::map<int, float> row_;
    SparseRows rows_;
};

SparseRows bilinear_rows(int in, int out) {
    Builder builder;
    const float scale = float(in) / float(out);
    for (int i = 0; i < out; i++) {
        const float at = std::max((float(i) + 0.5f) * scale - 0.5f, 0.0f);
        const int first = std::min(int(at), in - 1);
        builder.add(first, 1 - (at - float(first)));
        builder.add(std::min(first + 1, in - 1), at - float(first));
        builder.end_row();
    }
    return builder.done();
}

static double lanczos(double x) {
    if (std::fabs(x) < 1e-9)
        return 1;
    if (std::fabs(x) >= 3)
        return 0;
    const double a = M_PI * x;
    return 3 * std::sin(a) * std::sin(a / 3) / (a * a);
}

SparseRows lanczos_rows(int in, int out) {
    Builder builder;
    const double scale = double(in) / out, widened = std::max(scale, 1.0);
    for (int i = 0; i < out; i++) {
        const double centre = (i + 0.5) * scale - 0.5;
        const int first = int(std::ceil(centre - 3 * widened)),
                  last = int(std::floor(centre + 3 * widened));
        for (int j = first; j <= last; j++)
            builder.add(std::min(std::max(j, 0), in - 1), float(lanczos((j - centre) / widened)));
        builder.end_row();
    }
    return builder.done();
}

SparseRows gauss_rows(int size, float sigma) {
    Builder builder;
    const int reach = std::max(1, int(std::ceil(3 * sigma)));
    for (int i = 0; i < size; i++) {
        for (int j = -reach; j <= reach; j++)
            builder.add(std::min(std::max(i + j, 0), size - 1),
                std::exp(-float(j * j) / (2 * sigma * sigma)));
        builder.end_row();
    }
    return builder.done();
}

SparseRows transposed(const SparseRows &rows, int columns) {
    SparseRows to;
    to.start.assign(size_t(columns) + 1, 0);
    for (int column : rows.column)
        to.start[size_t(column) + 1]++;
    for (size_t i = 1; i < to.start.size(); i++)
        to.start[i] += to.start[i - 1];
    to.column.resize(rows.column.size());
    to.weight.resize(rows.weight.size());
    std::vector<int> next(to.start.begin(), to.start.end() - 1);
    for (int r = 0; r < rows.count(); r++)
        for (int k = rows.start[size_t(r)]; k < rows.start[size_t(r) + 1]; k++) {
            const int place = next[size_t(rows.column[size_t(k)])]++;
            to.column[size_t(place)] = r;
            to.weight[size_t(place)] = rows.weight[size_t(k)];
        }
    return to;
}

/* One row of the result: the weighted sum of input rows, then the weighted sums along it. */
static void apply_row(const SparseRows &x, const SparseRows &y, int r, const float *plane,
    int in_width, int64_t in_stride, float *sum, float *out) {
    std::fill(sum, sum + in_width, 0.0f);
    for (int k = y.start[size_t(r)]; k < y.start[size_t(r) + 1]; k++) {
        const float *from = plane + y.column[size_t(k)] * in_stride;
        const float weight = y.weight[size_t(k)];
        for (int i = 0; i < in_width; i++)
            sum[i] += weight * from[i];
    }
    for (int i = 0; i < x.count(); i++) {
        float value = 0;
        for (int k = x.start[size_t(i)]; k < x.start[size_t(i) + 1]; k++)
            value += x.weight[size_t(k)] * sum[x.column[size_t(k)]];
        out[i] = value;
    }
}

void separable_apply(const SparseRows &x, const SparseRows &y, int planes, const float *in,
    int in_width, int64_t in_stride, int64_t in_plane, float *out) {
    const int rows = y.count(), width = x.count();
#pragma omp parallel
    {
        std::vector<float> sum(static_cast<size_t>(in_width));
#pragma omp for collapse(2)
        for (int p = 0; p < planes; p++)
            for (int r = 0; r < rows; r++)
                apply_row(x, y, r, in + p * in_plane, in_width, in_stride, sum.data(),
                    out + (int64_t(p) * rows + r) * width);
    }
}

} // namespace cloak
