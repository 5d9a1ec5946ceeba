"""Words of the DICOM standard that a header may be trusted to say; anything else is free text."""

from __future__ import annotations

from collections.abc import Mapping

from pydicom import uid as uids

CAPTURE_CLASSES = frozenset(
    {
        uids.SecondaryCaptureImageStorage,
        uids.MultiFrameSingleBitSecondaryCaptureImageStorage,
        uids.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        uids.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        uids.MultiFrameTrueColorSecondaryCaptureImageStorage,
    }
)
"""Screenshots and scans of film (PS3.3 A.8)."""

OBJECTS_WITHOUT_IMAGE = frozenset(
    {
        uids.SegmentationStorage,
        "1.2.840.10008.5.1.4.1.1.66.7",  # label map segmentation, too new for pydicom's names
        uids.ParametricMapStorage,
        uids.RawDataStorage,
        uids.RTDoseStorage,
        uids.RTSegmentAnnotationStorage,
        uids.MRSpectroscopyStorage,
        uids.OphthalmicThicknessMapStorage,
        uids.CornealTopographyMapStorage,
    }
)
"""Classes that have rows and columns and yet are a result about an image.

Reports, presentation states, documents and plans have none, and are known by that.
"""

PROJECTIONS = frozenset(
    {
        uids.ComputedRadiographyImageStorage,
        uids.DigitalXRayImageStorageForPresentation,
        uids.DigitalXRayImageStorageForProcessing,
        uids.DigitalMammographyXRayImageStorageForPresentation,
        uids.DigitalMammographyXRayImageStorageForProcessing,
        uids.DigitalIntraOralXRayImageStorageForPresentation,
        uids.DigitalIntraOralXRayImageStorageForProcessing,
        uids.XRayAngiographicImageStorage,
        uids.EnhancedXAImageStorage,
        uids.XRayRadiofluoroscopicImageStorage,
        uids.EnhancedXRFImageStorage,
    }
)
"""Classes of shadows: whatever plane a header states, a pixel is no place in the patient."""

MAPS = frozenset(
    {
        *("EFF_ATOMIC_NUM", "ELECTRON_DENSITY", "MAT_SPECIFIC", "MAT_FRACTIONAL"),
        *("MAT_VALUE_BASED", "PERFUSION", "CBF", "CBV", "MTT", "TTP", "TMAX", "PBV"),
        *("SCREEN SAVE", "SCREENSAVE", "SCREEN_SAVE", "SCREEN CAPTURE"),
    }
)
"""Words of Image Type whose values are no attenuation (PS3.3 C.8.15.2.1.1, and scanners' own)."""

MODALITY_TERMS = (
    "BI CR CT DG DX ECG ES FA FSE GM IO IVOCT IVUS LS MG MR NM OAM OCT OP OPM OPT OT PT PX RF RG "
    "RTIMAGE SC SM TG US VF VL XA XC"
)
MODALITIES = frozenset(MODALITY_TERMS.split())
"""Defined terms of Modality for images (PS3.3 C.7.3.1.1.1)."""

BODY_PART_TERMS = (
    "ABDOMEN ABDOMENPELVIS ADRENAL ANKLE AORTA ARM AXILLA BACK BLADDER BRAIN BREAST BRONCHUS "
    "BUTTOCK CALCANEUS CALF CAROTID CEREBELLUM CSPINE CTSPINE CERVIX CHEEK CHEST CHESTABDOMEN "
    "CHESTABDPELVIS CIRCLEOFWILLIS CLAVICLE COCCYX COLON CORNEA CORONARYARTERY DUODENUM EAR ELBOW "
    "ESOPHAGUS EXTREMITY EYE EYELID FACE FEMUR FINGER FOOT GALLBLADDER HAND HEAD HEADNECK HEART "
    "HIP HUMERUS ILEUM ILIUM IAC JAW JEJUNUM KIDNEY KNEE LARYNX LEG LIVER LSPINE LSSPINE LUNG "
    "MAXILLA MEDIASTINUM MOUTH NECK NECKCHEST NECKCHESTABDOMEN NECKCHESTABDPELV NOSE ORBIT OVARY "
    "PANCREAS PAROTID PATELLA PELVIS PENIS PHARYNX PROSTATE RECTUM RIB SSPINE SCALP SCAPULA SCLERA "
    "SCROTUM SHOULDER SKULL SPINE SPLEEN STERNUM STOMACH SUBMANDIBULAR TMJ TESTIS THIGH THORAX "
    "THUMB THYMUS THYROID TLSPINE TOE TONGUE TRACHEA TSPINE URETER URETHRA UTERUS VAGINA VULVA "
    "WHOLEBODY WRIST ZYGOMA"
)
BODY_PARTS = frozenset(BODY_PART_TERMS.split())
"""Defined terms of Body Part Examined (PS3.16 annex L), and the retired but common THORAX."""

BODY_PART_OF_CODE: Mapping[str, str] = {
    "69536005": "HEAD",
    "774007": "HEADNECK",
    "12738006": "BRAIN",
    "89546000": "SKULL",
    "45048000": "NECK",
    "51185008": "CHEST",
    "39607008": "LUNG",
    "72410000": "MEDIASTINUM",
    "113345001": "ABDOMEN",
    "818981001": "ABDOMEN",
    "818982008": "ABDOMENPELVIS",
    "10200004": "LIVER",
    "12921003": "PELVIS",
    "816092008": "PELVIS",
    "76752008": "BREAST",
}
"""SNOMED CT codes of Anatomic Region Sequence (PS3.16 annex L), where an object has them."""
