"""Child process: encoded images in, blobs out. Standard library, numpy and cv2 only, Python 3.8.

Started by `process.Child` as  decoder.py <frames.py> <serve.py> <memory limit>.

Ops
  decode   arrays: encoded images by key; settings: see Preprocessing.decoder_settings
           -> arrays: blobs by the same keys; problems: what was wrong, by key
"""

import importlib.util
import os
import sys

MAX_PIXELS = 100_000_000  # the largest image accepted: 100 megapixels, 300 MB when decoded


def _load(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def decode(header, arrays):
    import cv2

    cv2.setNumThreads(1)  # the other cores belong to whoever computes with the last images
    blobs, problems = {}, {}
    for key, data in arrays.items():
        try:
            blobs[key] = to_blob(cv2, data, header["settings"])
        except (cv2.error, ValueError) as error:
            text = str(error)
            if "insufficient memory" in text.lower():
                raise MemoryError(text) from None
            problems[key] = text
    return {"problems": problems}, blobs


def to_blob(cv2, data, settings):
    """Decode and preprocess one image: blobFromImageWithParams does all but 'shorter'."""
    # Unlike imread, imdecode refuses a truncated JPEG instead of filling it up with gray.
    image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE if settings["gray"] else cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("undecodable")
    if settings["resize"] == "shorter":
        image = crop_after_shorter_side(cv2, image, settings["shorter_side"], settings["size"])
    params = cv2.dnn.Image2BlobParams()
    params.size = tuple(settings["size"])
    params.mean = tuple(settings["mean"])
    params.scalefactor = tuple(settings["scale"])
    params.swapRB = settings["rgb"]
    params.ddepth = cv2.CV_8U if settings["uint8"] else cv2.CV_32F
    params.borderValue = tuple(settings["border"])
    params.datalayout = data_layout(cv2, settings["layout"])
    params.paddingmode = {
        "crop": cv2.dnn.DNN_PMODE_CROP_CENTER,
        "letterbox": cv2.dnn.DNN_PMODE_LETTERBOX,
    }.get(settings["resize"], cv2.dnn.DNN_PMODE_NULL)
    return cv2.dnn.blobFromImageWithParams(image, params)


def crop_after_shorter_side(cv2, image, shorter_side, size):
    """As DNN_PMODE_CROP_CENTER, with the scale taken from `shorter_side` instead of `size`."""
    scale = shorter_side / min(image.shape[:2])
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    top, left = (image.shape[0] - size[1]) // 2, (image.shape[1] - size[0]) // 2
    return image[top : top + size[1], left : left + size[0]].copy()


def data_layout(cv2, layout):
    """The constant moved from cv2.dnn to cv2 in 5.0."""
    if hasattr(cv2, "DATA_LAYOUT_" + layout):
        return getattr(cv2, "DATA_LAYOUT_" + layout)
    return getattr(cv2.dnn, "DNN_LAYOUT_" + layout)


if __name__ == "__main__":
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)
    serve = _load(sys.argv[2], "serve")
    serve.limit_memory(int(sys.argv[3]))
    serve.serve(_load(sys.argv[1], "frames"), {"decode": decode})
