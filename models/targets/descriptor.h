/* What a detector's graph takes and gives, in words: the JSON file beside an ONNX file. README.md says
 * what each key means. */
#ifndef CLOAK_TARGETS_DESCRIPTOR_H
#define CLOAK_TARGETS_DESCRIPTOR_H

#include <array>
#include <string>
#include <vector>

namespace cloak {

/* A value of the graph and which of its numbers per location is meant. */
struct OutputColumn {
    std::string output;
    int column = 0;
};

enum class Activation { none, sigmoid, softmax };

struct ScoreFactor {
    OutputColumn from;
    Activation activation = Activation::none;
};

enum class BoxKind { corners, centre, distance, offset_exp, offset_linear };
enum class Layout { rows, columns, maps };

struct AnchorLevel {
    float stride = 0, offset = 0.5f;
    std::vector<float> sizes;
};

struct DetectorHead {
    std::vector<ScoreFactor> score;
    float power = 1;
    BoxKind kind = BoxKind::corners;
    std::array<OutputColumn, 4> box;
    std::array<float, 2> variances = {1, 1};
    bool unit_input = false; /* absolute boxes are shares of the input */
    std::vector<AnchorLevel> anchors;
    Layout layout = Layout::rows;
};

/* A network of a cascade. */
struct CascadeStage {
    std::string input; /* the graph's */
    int size = 0;      /* of what it looks at, in its pixels, each way */
    ScoreFactor score;
    std::string box; /* output: how far the four edges of a box are off, in shares of its size */
    float threshold = 0, nms = 0;
};

/* Networks that look one after the other, as in MTCNN: the first at the whole photo at many sizes, each of the
 * others at what the one before it found. */
struct Cascade {
    std::vector<CascadeStage> stages; /* none: the detector is no cascade */
    int stride = 0;     /* of the first one's locations, in its pixels */
    int least_face = 0; /* in pixels of the input: what the first size makes `size` of */
    float shrink = 0;   /* from one size to the next */
    float level_nms = 0; /* among what one size found */
};

struct Descriptor {
    std::string name, licence, training;
    std::string input; /* the graph's; may be empty */
    static constexpr int native = 0; /* as long side: the photo's own */
    std::vector<int> also; /* further long sides */
    int long_side = 0, width = 0, height = 0, align = 1;
    bool enlarge = false, stretch = false, square = false, bgr = false, brief = false,
         untested = false; /* by those who wrote it */
    float pad = 0;
    std::array<float, 3> mean = {0, 0, 0}, std = {1, 1, 1}; /* in the order that is fed, levels */
    float threshold = 0.5f, nms = 0.4f;
    std::vector<DetectorHead> heads; /* or: */
    Cascade cascade;                 /* whose last threshold is the detector's */
};

/* Reads a file of at most 1 MiB. Throws std::runtime_error that names file and key. */
Descriptor read_descriptor(const std::string &path);

} // namespace cloak
#endif
