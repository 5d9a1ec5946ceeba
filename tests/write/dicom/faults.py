"""What real headers say of patient and study although the standard forbids it."""

from __future__ import annotations

from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset

from headclip_med.write.dicom.source import derived_uid


def item(**values: object) -> Dataset:
    made = Dataset()
    with disable_value_validation():
        for keyword, value in values.items():
            setattr(made, keyword, value)
    return made


FAULTS: dict[str, dict[str, object]] = {
    "dates and times of ACR-NEMA": {
        "StudyDate": "1997.04.24", "StudyTime": "14:25:27", "PatientBirthDate": "1950.01.02",
    },
    "dates that never were": {"StudyDate": "20241341", "PatientBirthDate": "unknown"},
    "times that never were": {"StudyTime": "256199", "PatientBirthTime": "noon"},
    "half a time": {"StudyTime": "070"},
    "an empty character set": {"SpecificCharacterSet": ""},
    "a character set written otherwise": {"SpecificCharacterSet": b"iso-ir 100"},
    "a character set that is none": {"SpecificCharacterSet": b"Latin1"},
    "two character sets": {"SpecificCharacterSet": ["", "ISO 2022 IR 87"]},
    "one identifier for study and space": {"FrameOfReferenceUID": derived_uid("study")},
    "one identifier for series and space": {"FrameOfReferenceUID": derived_uid("series")},
    "a space that is no identifier": {"FrameOfReferenceUID": "1.2.abc"},
    "codes that are none": {
        "PatientSex": "female", "PatientIdentityRemoved": "maybe", "QualityControlSubject": "no",
        "SmokingStatus": "a lot", "BodyPartExamined": "head & neck",
    },
    "ages that are none": {"PatientAge": "62 years"},
    "numbers that are none": {"PatientWeight": b"heavy ", "PatientSize": b"1,80"},
    "texts that are too long": {
        "PatientID": "7" * 80, "AccessionNumber": "A" * 30, "StudyID": "S" * 30,
        "StudyDescription": "d" * 90, "PatientName": "N" * 100,
    },
    "several values for one": {"StudyDescription": ["a", "b"], "PatientID": ["1", "2"]},
    "names with too many parts": {
        "PatientName": "A^B^C^D^E^F^G", "ReferringPhysicianName": "A=B=C=D",
    },
    "empty identities": {"OtherPatientIDsSequence": [item(PatientID="7")]},
    "identities without a kind": {
        "OtherPatientIDsSequence": [item(PatientID="7", TypeOfPatientID="passport"), item()],
    },
    "codes without a meaning": {"ProcedureCodeSequence": [item(CodeValue="1"), item()]},
    "studies without an identifier": {
        "ReferencedStudySequence": [item(ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1")],
    },
    "half a clinical trial": {"ClinicalTrialSiteID": "9", "ClinicalTrialProtocolName": "x"},
    "a trial without a subject": {
        "ClinicalTrialSponsorName": "x", "ClinicalTrialProtocolID": "y",
    },
    "a point of time of no trial": {"ClinicalTrialTimePointDescription": "later"},
    "somebody responsible for nothing": {"ResponsiblePerson": "Doe^Jane"},
    "nobody knows how it was de-identified, twice": {
        "DeidentificationMethod": None, "DeidentificationMethodCodeSequence": [item()],
    },
    "species without a code": {"PatientSpeciesDescription": "", "PatientSexNeutered": "perhaps"},
    "an expectation that is none": {"PregnancyStatus": 9},
    "a time zone that is none": {"TimezoneOffsetFromUTC": "CET"},
    "a method of nothing": {"PatientIdentityRemoved": "NO", "DeidentificationMethod": "none"},
}  # fmt: skip
