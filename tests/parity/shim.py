"""The model shim through ctypes, for parity tests against torchvision."""
import ctypes as c
import os

import numpy as np


class Params(c.Structure):
    _fields_ = [("size", c.c_size_t), ("device", c.c_char_p), ("threads", c.c_int),
                ("detail", c.c_int)]


class Info(c.Structure):
    _fields_ = [("name", c.c_char_p), ("architecture", c.c_char_p), ("sha256", c.c_char_p),
                ("device", c.c_char_p), ("training", c.c_char_p), ("input_min", c.c_int),
                ("input_max", c.c_int), ("score_threshold", c.c_float)]


class Image(c.Structure):
    _fields_ = [("rgb", c.c_void_p), ("width", c.c_int), ("height", c.c_int)]


class Detections(c.Structure):
    _fields_ = [("count", c.c_size_t), ("items", c.POINTER(c.c_float))]


class Error(c.Structure):
    _fields_ = [("code", c.c_int), ("retryable", c.c_bool), ("text", c.c_char * 768)]


class AttackParams(c.Structure):
    _fields_ = [("size", c.c_size_t), ("eps", c.c_float), ("max_steps", c.c_int),
                ("restarts", c.c_int), ("region", c.c_float), ("margin", c.c_float),
                ("seed", c.c_uint64), ("codec", c.c_void_p), ("codec_context", c.c_void_p),
                ("stop", c.c_void_p), ("stop_context", c.c_void_p), ("lattice", c.c_bool),
                ("clean", c.c_void_p), ("without", c.c_uint), ("full_precision", c.c_bool),
                ("transforms", c.c_void_p), ("transform_count", c.c_size_t),
                ("others", c.c_void_p), ("other_count", c.c_size_t), ("polish", c.c_int),
                ("diversity", c.c_float)]


class AttackResult(c.Structure):
    _fields_ = [("grid_width", c.c_int), ("grid_height", c.c_int),
                ("levels", c.POINTER(c.c_int8)), ("max_change", c.c_int), ("steps", c.c_int),
                ("restarts", c.c_int), ("success", c.c_bool), ("residual_score", c.c_float),
                ("found", Detections), ("look_seconds", c.c_double * 17)]


class Model:
    """One loaded model. Images are numpy arrays, height × width × 3, uint8."""

    def __init__(self, library, weights, threads=0, detail=0, device="cpu"):
        self.lib = c.CDLL(library)
        self.lib.cloak_attack_default_params.restype = AttackParams
        size = self.lib.cloak_attack_default_params().size
        assert size == c.sizeof(AttackParams), f"cloak_attack_params is {size} bytes: adapt shim.py"
        self.error = Error()
        self.handle = c.c_void_p()
        params = Params(c.sizeof(Params), device.encode(), threads, detail)
        self.check(self.lib.cloak_model_load(os.fsencode(weights), c.byref(params),
                                             c.byref(self.handle), c.byref(self.error)))
        self.lib.cloak_model_describe.restype = Info
        self.threshold = self.lib.cloak_model_describe(self.handle).score_threshold

    def check(self, status):
        if status != 0:
            raise RuntimeError(self.error.text.decode())

    @staticmethod
    def image(array):
        assert array.dtype == np.uint8 and array.flags.c_contiguous
        return Image(array.ctypes.data, array.shape[1], array.shape[0])

    def detect(self, array):
        """Detections as an array of rows x1, y1, x2, y2, score."""
        found = Detections()
        image = self.image(array)
        self.check(self.lib.cloak_model_detect(self.handle, c.byref(image), c.c_size_t(1),
                                               c.byref(found), c.byref(self.error)))
        rows = np.ctypeslib.as_array(found.items, (found.count, 5)).copy() if found.count else \
            np.zeros((0, 5), np.float32)
        self.lib.cloak_detections_free(c.byref(found))
        return rows

    def attack(self, array, warm=None, **settings):
        """(perturbed image, summary) of one attack with the given parameters; `warm`: levels to start from, on the grid."""
        params = self.lib.cloak_attack_default_params()
        for name, value in settings.items():
            setattr(params, name, value)
        image, result, start = self.image(array), AttackResult(), None
        if warm is not None:
            assert warm.dtype == np.int8 and warm.flags.c_contiguous
            start = AttackResult(grid_width=warm.shape[1], grid_height=warm.shape[0],
                                 levels=warm.ctypes.data_as(c.POINTER(c.c_int8)))
        self.check(self.lib.cloak_model_attack(
            self.handle, c.byref(image), c.c_size_t(1), c.byref(params), c.byref(start) if start else None,
            c.byref(result), c.byref(self.error)))
        out = np.empty_like(array)
        self.check(self.lib.cloak_model_apply(c.byref(image), c.byref(result),
                                              c.c_void_p(out.ctypes.data), c.byref(self.error)))
        summary = {"steps": result.steps, "success": result.success,
                   "residual_score": result.residual_score,
                   "grid": (result.grid_width, result.grid_height),
                   "levels": np.ctypeslib.as_array(
                       result.levels, (result.grid_height, result.grid_width, 3)).copy() if result.levels else None}
        self.lib.cloak_attack_result_free(c.byref(result))
        return out, summary
