"""What the images of a column are, between the contract and its value."""

from flare.scraper.v1 import dataset_pb2

from servicekit.images.shape import ImageMode, ImageResizing, ImageShape

_MODES = {
    ImageMode.RGB: dataset_pb2.IMAGE_MODE_RGB,
    ImageMode.GRAYSCALE: dataset_pb2.IMAGE_MODE_GRAYSCALE,
}
_RESIZINGS = {
    ImageResizing.STRETCH: dataset_pb2.IMAGE_RESIZING_STRETCH,
    ImageResizing.CROP: dataset_pb2.IMAGE_RESIZING_CROP,
    ImageResizing.PAD: dataset_pb2.IMAGE_RESIZING_PAD,
}
_MODE_OF = {number: mode for mode, number in _MODES.items()}
_RESIZING_OF = {number: resizing for resizing, number in _RESIZINGS.items()}


def image_shape(message: dataset_pb2.ImageShape) -> ImageShape:
    """The contract's shape as a value."""
    return ImageShape(message.height, message.width, _MODE_OF[message.mode], _RESIZING_OF[message.resizing])


def image_shape_message(shape: ImageShape) -> dataset_pb2.ImageShape:
    """The reverse."""
    return dataset_pb2.ImageShape(
        height=shape.height, width=shape.width, mode=_MODES[shape.mode], resizing=_RESIZINGS[shape.resizing]
    )
