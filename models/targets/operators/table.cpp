/* The table of operators; see operators.h. */
#include "models/targets/operators/arguments.h"

namespace cloak {

Operator find_operator(const std::string &name) {
    static const OperatorTable table = []() {
        OperatorTable all;
        add_elementwise(all);
        add_shapes(all);
        add_windows(all);
        return all;
    }();
    auto found = table.find(name);
    return found == table.end() ? nullptr : found->second;
}

} // namespace cloak
