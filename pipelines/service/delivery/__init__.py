"""Results on their way to archives: sent by DICOM or DICOMweb, verified, tried again."""

from headclip_med.pipelines.service.delivery.courier import Courier, deliver_due, resend
from headclip_med.pipelines.service.delivery.destinations import Destination, DestinationFailed

__all__ = ["Courier", "Destination", "DestinationFailed", "deliver_due", "resend"]
