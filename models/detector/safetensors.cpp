/* Safetensors reader; see the header. */
#include "models/detector/safetensors.h"

#include <cstring>
#include <memory>
#include <stdexcept>

#include <ATen/ATen.h>
#include <cjson/cJSON.h>

extern "C" {
#include "common/base/digest.h"
#include "common/base/file.h"
}

namespace cloak {

namespace {

constexpr size_t max_file = size_t(1) << 31, max_header = size_t(1) << 24;

using Json = std::unique_ptr<cJSON, decltype(&cJSON_Delete)>;

[[noreturn]] void bad(const std::string &path, const std::string &what) {
    throw std::runtime_error(path + ": " + what);
}

torch::Dtype parse_type(const std::string &path, const std::string &name, const cJSON *entry) {
    const char *word = cJSON_GetStringValue(cJSON_GetObjectItem(entry, "dtype"));
    if (word && !strcmp(word, "F32"))
        return torch::kFloat32;
    if (word && !strcmp(word, "F16"))
        return torch::kFloat16;
    if (word && !strcmp(word, "BF16"))
        return torch::kBFloat16;
    bad(path, "tensor " + name + " has type " + (word ? word : "(none)") +
                  "; F32, F16 and BF16 are supported");
}

torch::Tensor parse_tensor(
    const std::string &path, const cJSON *entry, const char *data, size_t data_length) {
    const std::string name = entry->string;
    torch::Dtype type = parse_type(path, name, entry);
    std::vector<int64_t> shape;
    uint64_t count = 1;
    const cJSON *item;
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(entry, "shape")) {
        if (!cJSON_IsNumber(item) || item->valuedouble < 0 || item->valuedouble > 1e9)
            bad(path, "tensor " + name + " has a bad shape");
        shape.push_back(int64_t(item->valuedouble));
        count *= uint64_t(item->valuedouble);
        if (count > data_length)
            bad(path, "tensor " + name + " is larger than the file");
    }
    const cJSON *offsets = cJSON_GetObjectItem(entry, "data_offsets");
    const cJSON *first = cJSON_GetArrayItem(offsets, 0), *last = cJSON_GetArrayItem(offsets, 1);
    if (!cJSON_IsNumber(first) || !cJSON_IsNumber(last) || first->valuedouble < 0 ||
        last->valuedouble < first->valuedouble || last->valuedouble > double(data_length) ||
        uint64_t(last->valuedouble - first->valuedouble) != count * torch::elementSize(type))
        bad(path, "tensor " + name + " has offsets that do not fit its shape or the file");
    torch::Tensor raw = torch::empty(shape, type);
    if (raw.numel())
        memcpy(raw.data_ptr(), data + size_t(first->valuedouble), raw.nbytes());
    return raw.to(torch::kFloat32);
}

/* (64, 3, 7, 7); any size is n. */
std::string shape_text(const std::vector<int64_t> &shape) {
    std::string text;
    for (int64_t size : shape)
        text += (text.empty() ? "" : ", ") + (size == any_size ? "n" : std::to_string(size));
    return "(" + text + ")";
}

} // namespace

const torch::Tensor &Weights::at(const std::string &name, const std::vector<int64_t> &shape) const {
    auto found = tensors.find(name);
    if (found == tensors.end())
        throw std::runtime_error("the model file lacks the tensor " + name);
    const torch::Tensor &tensor = found->second;
    bool fits = tensor.dim() == int64_t(shape.size());
    for (size_t i = 0; fits && i < shape.size(); i++)
        fits = shape[i] == any_size ? tensor.size(int64_t(i)) > 0
                                    : tensor.size(int64_t(i)) == shape[i];
    if (!fits)
        throw std::runtime_error("the model file's tensor " + name + " is " +
                                 shape_text(tensor.sizes().vec()) + " instead of " +
                                 shape_text(shape));
    if (!at::isfinite(tensor).all().item<bool>())
        throw std::runtime_error(
            "the model file's tensor " + name + " holds a value that is not finite");
    return tensor;
}

Weights read_safetensors(const std::string &path) {
    void *block = nullptr;
    size_t length = 0;
    cloak_error error;
    if (cloak_file_read(path.c_str(), max_file, &block, &length, &error) != CLOAK_OK)
        throw std::runtime_error(error.text);
    std::unique_ptr<void, decltype(&free)> owner(block, &free);
    const char *bytes = static_cast<const char *>(block);
    uint64_t header_length = 0;
    if (length < 8)
        bad(path, "is not a safetensors file: too short");
    memcpy(&header_length, bytes, 8);
    if (header_length > max_header || header_length > length - 8)
        bad(path, "is not a safetensors file: bad header length");
    Json header(cJSON_ParseWithLength(bytes + 8, header_length), &cJSON_Delete);
    if (!cJSON_IsObject(header.get()))
        bad(path, "is not a safetensors file: the header is not a JSON object");
    Weights weights;
    char digest[CLOAK_DIGEST_SIZE];
    cloak_digest_hex(bytes, length, digest);
    weights.sha256 = digest;
    const cJSON *entry;
    cJSON_ArrayForEach(entry, header.get()) {
        if (strcmp(entry->string, "__metadata__") != 0) {
            weights.tensors[entry->string] =
                parse_tensor(path, entry, bytes + 8 + header_length, length - 8 - header_length);
            continue;
        }
        const cJSON *pair;
        cJSON_ArrayForEach(pair, entry) if (cJSON_IsString(pair)) weights.metadata[pair->string] =
            pair->valuestring;
    }
    return weights;
}

} // namespace cloak
