/* What a look at a photo is good for. */
#ifndef CLOAK_DETECTOR_PRECISION_H
#define CLOAK_DETECTOR_PRECISION_H

namespace cloak {

/* `exact` is the detector as it was trained and as anybody runs it, in float: verdicts are passed
 * on it. `brief` may compute in bfloat16 where the device multiplies that, and is for the way
 * there: what lies near the threshold may come out on its other side. */
enum class Precision { exact, brief };

} // namespace cloak
#endif
