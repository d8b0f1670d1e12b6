/* What a JPEG file does to a picture, and the gradient of that: colours to YCbCr and back, chroma
 * halved or not, blocks of 8 × 8 through the DCT, rounded to multiples of the quantisation tables
 * of ITU-T T.81 Annex K, scaled by quality as the IJG's library does it. Huffman coding loses
 * nothing and is left out. Agrees with libjpeg-turbo to about a level (its integer DCT rounds in
 * between).
 *
 * Planes are rows of floats from the top without padding, values 0 … 255. No torch types.
 */
#ifndef CLOAK_KERNELS_JPEG_H
#define CLOAK_KERNELS_JPEG_H

#include <cstdint>
#include <vector>

namespace cloak {

class Jpeg {
  public:
    /* quality 1 … 100; halved: chroma at half the width and height (4:2:0). */
    Jpeg(int width, int height, int quality, bool halved);

    /* Three planes of whole levels as the file's viewer sees them, from three planes. */
    void forward(const float *rgb, float *out);

    /* The gradient with respect to what `forward` was given last from that of its result. Rounding
     * of coefficients has the slope 3d², d being the distance to the nearest multiple (the
     * derivative of round(x) + (x - round(x))³, Shin and Song 2017), and at least `least_slope`;
     * all other rounding and clipping counts as the identity. */
    void backward(const float *grad, float *out);

  private:
    /* One component: its size padded to whole blocks, its samples, slopes of its coefficients. */
    struct Component {
        int width, height;
        float steps[64];
        std::vector<float> samples, slopes;
    };

    void to_components(const float *rgb);
    void quantise(Component &component);
    void from_components(float *out);
    void collect(const float *grad, std::vector<float> *to) const;
    void through_blocks(const Component &component, std::vector<float> &grad) const;

    int width_, height_;
    bool halved_;
    Component components_[3];
};

} // namespace cloak
#endif
