/* What the metadata of a model file says about its architecture. */
#ifndef CLOAK_DETECTOR_CONFIG_H
#define CLOAK_DETECTOR_CONFIG_H

#include <map>
#include <string>
#include <vector>

namespace cloak {

struct DetectorConfig {
    std::string name, backbone, training;
    int fpn_channels = 0;
    std::vector<std::vector<float>> anchor_sizes; /* by level, in input pixels */
    std::vector<float> anchor_ratios;             /* height / width */
    int input_min = 0, input_max = 0;
    std::vector<float> mean, std;
    float score_threshold = 0, box_nms = 0, rpn_nms = 0;
    float rpn_min_size = 1e-3f; /* least side of a proposal in input pixels, once it is clipped */
    float box_vote = 0; /* least IoU of candidates that place a detection; 0: no voting */
    float box_refine = 0; /* how far detections follow the refinement, at most 1; 0: there is none */
    int max_detections = 0, rpn_pre_nms = 0, rpn_post_nms = 0;
};

/* Parses and checks; throws std::runtime_error that names the key. */
DetectorConfig parse_config(const std::map<std::string, std::string> &metadata);

} // namespace cloak
#endif
