/* Linear maps between images that work on rows and on columns apart: resizing, blurring, and their
 * gradients, which are such maps as well. Planes are rows of floats from the top. No torch types;
 * sizes are checked by the caller.
 */
#ifndef CLOAK_KERNELS_SEPARABLE_H
#define CLOAK_KERNELS_SEPARABLE_H

#include <cstdint>
#include <vector>

namespace cloak {

/* A sparse matrix by rows: row r holds entries [start[r], start[r+1]), by rising column. */
struct SparseRows {
    std::vector<int> start, column;
    std::vector<float> weight;

    int count() const {
        return int(start.size()) - 1;
    }
};

/* Bilinear with half-pixel centres: what torch calls align_corners=False without antialiasing. */
SparseRows bilinear_rows(int in, int out);

/* Lanczos of three lobes, widened where it shrinks so that nothing folds back: what image libraries
 * shrink with (Duchon 1979). */
SparseRows lanczos_rows(int in, int out);

/* A Gaussian of `sigma` pixels, cut off at three of them; the edge's pixel repeats. */
SparseRows gauss_rows(int size, float sigma);

/* The matrix with rows and columns exchanged; `columns`: how many it has. */
SparseRows transposed(const SparseRows &rows, int columns);

/* `planes` images of in_width columns through `y` and `x`: out is planes × y.count() × x.count()
 * floats without padding, overwritten. Rows of `in` are in_stride floats apart, planes in_plane. */
void separable_apply(const SparseRows &x, const SparseRows &y, int planes, const float *in,
    int in_width, int64_t in_stride, int64_t in_plane, float *out);

} // namespace cloak
#endif
