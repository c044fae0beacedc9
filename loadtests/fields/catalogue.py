"""All fields, by name."""

from loadtests.fields import language, recommendation, speech, text, vision
from loadtests.fields.field import Field

FIELDS: dict[str, Field] = {
    field.name: field for field in (vision.FIELD, text.FIELD, speech.FIELD, recommendation.FIELD, language.FIELD)
}
