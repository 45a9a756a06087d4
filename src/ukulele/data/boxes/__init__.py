"""Pictures with boxes: VOC, COCO and YOLO, recognised by themselves, written again in any of the three."""

from ukulele.data.boxes.cells import dump, parse
from ukulele.data.boxes.find import is_data_yaml, read_boxes
from ukulele.data.boxes.gather import Boxed
from ukulele.data.boxes.write import FORMATS, write

__all__ = ["FORMATS", "Boxed", "dump", "is_data_yaml", "parse", "read_boxes", "write"]
