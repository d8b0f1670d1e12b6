/* What an ONNX file says, as plain values: nodes in order, constants as tensors. Nothing is computed
 * here. The format: onnx.proto of the ONNX project, read by its own generated parser. */
#ifndef CLOAK_TARGETS_ONNX_FILE_H
#define CLOAK_TARGETS_ONNX_FILE_H

#include <map>
#include <string>
#include <vector>

#include <torch/types.h>

namespace cloak {

/* One attribute of a node; what it has is filled. */
struct OnnxAttribute {
    double real = 0;     /* of a number of either kind */
    int64_t whole = 0;   /* of a whole number */
    std::string text;
    std::vector<double> reals;
    std::vector<int64_t> wholes;
    torch::Tensor tensor;
};

struct OnnxNode {
    std::string op, name; /* name may be empty */
    std::vector<std::string> inputs, outputs; /* an empty name: left out */
    std::map<std::string, OnnxAttribute> attributes;

    /* "node 12 (Conv)" or "node Conv_5 (Conv)", for error texts. */
    std::string label;
};

struct OnnxFile {
    int opset = 0;
    std::vector<std::string> inputs; /* that are no constants */
    std::vector<std::string> outputs;
    std::map<std::string, torch::Tensor> constants; /* float32, int64 or bool */
    std::vector<OnnxNode> nodes; /* each after those whose outputs it reads */
    std::string sha256;          /* of the whole file, hex */
};

/* Reads and sorts. Throws std::runtime_error that names the file and what is wrong: not an ONNX file,
 * constants that are not in it or do not fit their shape, cycles, values that nothing makes, more nodes
 * than anybody's detector has. Takes memory in proportion to the file, which may hold 256 MiB. */
OnnxFile read_onnx(const std::string &path);

} // namespace cloak
#endif
