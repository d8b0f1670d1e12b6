/* The names of transforms; see the header. */
#include "models/attack/transform.h"

#include <cstdlib>
#include <stdexcept>

namespace cloak {

namespace {

struct Part {
    const char *name;
    double low, high;
    void (*set)(Transform &transform, float value);
};

/* To extend: a row here, a field in Transform, a stage in Passage. */
const Part parts[] = {
    {"jpeg", 1, 100, [](Transform &t, float value) { t.quality = int(value); }},
    {"view", 0.25, 4, [](Transform &t, float value) { t.view = value; }},
    {"blur", 0.1, 16, [](Transform &t, float value) { t.blur = value; }},
    {"x", 0.1, 1, [](Transform &t, float value) { t.shrink = value; }},
};

constexpr size_t most = 64;

void read_part(const std::string &text, Transform &transform) {
    if (text == "raw")
        return;
    for (const Part &part : parts) {
        const std::string name = part.name;
        if (text.compare(0, name.size(), name) != 0 || text.size() == name.size())
            continue;
        char *end = nullptr;
        const double value = strtod(text.c_str() + name.size(), &end);
        if (*end || !(value >= part.low && value <= part.high))
            break;
        part.set(transform, float(value));
        return;
    }
    throw std::invalid_argument("the transform '" + text +
                                "' is not known; there are raw, x0.1 to x1, blur0.1 to blur16, "
                                "jpeg1 to jpeg100, view0.25 to view4, and + between them");
}

std::vector<std::string> split(const std::string &text, char at) {
    std::vector<std::string> list(1);
    for (char c : text)
        if (c == at)
            list.emplace_back();
        else
            list.back() += c;
    return list;
}

} // namespace

std::vector<Transform> read_transforms(const std::string &text) {
    std::vector<Transform> list;
    if (text.empty())
        return list;
    for (const std::string &chain : split(text, ',')) {
        Transform transform;
        for (const std::string &part : split(chain, '+'))
            read_part(part, transform);
        list.push_back(transform);
    }
    if (list.size() > most)
        throw std::invalid_argument("more than 64 transforms");
    return list;
}

} // namespace cloak
