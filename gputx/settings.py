"""Everything that can be set: its name, its kind, its default, and what ``--help`` says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gputx.models import DEFAULT_MODEL
from gputx_remote.engine.choice import ALGORITHMS, COMPUTE_TYPES, DECODERS
from gputx_remote.engine.transcriber import TEMPERATURES, Thresholds
from gputx_remote.speech.plan import DETECTORS, SpeechOptions
from gputx_remote.writers import FORMATS

Kind = Literal[
    "text", "list", "cidrs", "duration", "choice", "path", "money", "integer", "number", "numbers", "flag", "place"
]


@dataclass(frozen=True)
class Setting:
    """One thing that can be configured. Durations are kept as the text that was written; integers are 1 or more."""

    name: str
    kind: Kind
    default: str | tuple[str, ...] | bool | None
    help: str
    choices: tuple[str, ...] = ()
    section: str = "Options"
    """The heading of ``--help`` it is listed under."""

    @property
    def variable(self) -> str:
        return f"GPUTX_{self.name.upper()}"


VOLUME_RATES = ("none", "100", "200", "300")
"""Between the bounds of EC2's VolumeInitializationRate (EbsBlockDevice in its API reference)."""

DECODING, SPEECH = "Decoding", "Speech detection"


def _left(section: str, name: str, kind: Kind, text: str, default: object) -> Setting:
    """A setting that is sent only where it is given: the default is the worker's, and the help alone tells it."""
    told = f"{default:g}" if isinstance(default, float) else default
    choices = DETECTORS if kind == "choice" else ()
    return Setting(name, kind, None, f"{text}  [default: {told}]", choices, section)


_FALLBACK = ", ".join(f"{value:g}" for value in TEMPERATURES)

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "on", "place", "aws", "where a job runs; for run also auto or https://… of servers", ("aws", "sandbox", "local")
    ),
    Setting(
        "auto", "list", ("api", "aws", "local"), "what --on auto tries: api (a server that is up), aws, sandbox, local"
    ),
    Setting("region", "text", "eu-north-1", "AWS region"),
    Setting("profile", "text", None, "AWS profile from your AWS config"),
    Setting("language", "text", "sv", "spoken language: a code, its English name, or auto"),
    Setting("model", "text", DEFAULT_MODEL, "Hugging Face id or directory of a Whisper model"),
    Setting("task", "choice", "transcribe", "what to do with speech", ("transcribe", "translate")),
    Setting("output_dir", "path", ".", "where transcripts are written"),
    Setting("output_format", "list", ("txt",), f"{', '.join(FORMATS)}, or all", (*FORMATS, "all")),
    Setting("max_line_width", "integer", None, "characters on a line of subtitles"),
    Setting("max_line_count", "integer", None, "lines in a subtitle; implies --word-timestamps"),
    Setting("max_words_per_line", "integer", None, "words on a line of subtitles; implies --word-timestamps"),
    Setting("highlight_words", "flag", False, "underline each word as it is spoken; implies --word-timestamps"),
    Setting("word_timestamps", "flag", False, "find when each word is spoken"),
    Setting("initial_prompt", "text", None, "text to stand before the recording: names, spelling, style"),
    Setting("hotwords", "text", None, "words to expect"),
    Setting("condition_on_previous_text", "flag", False, "give each window the text before it: one by one, slower"),
    Setting("channel", "text", None, "the channel to hear: left, right or a number (all of them, mixed)"),
    Setting("market", "choice", "auto", "auto: spot, then on-demand", ("auto", "spot", "on-demand")),
    Setting("instance_type", "list", ("g4dn.xlarge",), "EC2 instance types that may be used"),
    Setting("zone", "list", (), "availability zones that may be used (all that offer the type)"),
    Setting("ttl", "duration", "2h", "an instance powers itself off after this, whatever happens"),
    Setting("max_cost", "money", None, "an instance powers itself off before it can have cost more than this, in USD"),
    Setting("grace", "duration", "10m", "an instance powers itself off when it has not heard from gputx for so long"),
    Setting("boot_timeout", "duration", "6m", "give up on an instance that does not answer by then"),
    Setting("volume_rate", "choice", "none", "MiB/s at which AWS fills the disk, at a price", VOLUME_RATES),
    Setting("bucket", "text", None, "S3 bucket for results (transcription-<account id>); none: no S3"),
    Setting("instance_role", "text", "transcription-ec2-role", "role and instance profile that setup makes"),
    Setting("idle_timeout", "duration", "30m", "a server powers itself off when it has not been used for so long"),
    Setting("max_lifetime", "duration", "12h", "a server powers itself off after this, whatever happens"),
    Setting("image", "text", None, "AMI to use (the newest gputx image of the account)"),
    Setting("subnet", "text", None, "subnet to launch in (the default VPC's)"),
    Setting("allow_cidr", "cidrs", (), "address ranges that may reach SSH (your own public address)"),
    Setting("algorithm", "choice", "auto", "vad, chunked (the stock pipeline) or sequential", ALGORITHMS, DECODING),
    Setting("decoder", "choice", "auto", "what runs the model (the fastest measured there)", DECODERS, DECODING),
    Setting("compute_type", "choice", "auto", "the decoder's arithmetic", COMPUTE_TYPES, DECODING),
    Setting("batch_size", "integer", None, "windows of 30 s at once (what memory has room for)", (), DECODING),
    _left(DECODING, "temperatures", "numbers", "the first for all, the next for text in doubt, and on", _FALLBACK),
    _left(
        DECODING,
        "compression_ratio_threshold",
        "number",
        "text is in doubt that zlib packs better than this: it repeats itself",
        Thresholds.compression_ratio,
    ),
    _left(
        DECODING,
        "logprob_threshold",
        "number",
        "text is in doubt whose mean log probability is below this: it is guesswork",
        Thresholds.logprob,
    ),
    _left(
        DECODING,
        "no_speech_threshold",
        "number",
        "guesswork with a higher probability of no speech than this is silence",
        Thresholds.no_speech,
    ),
    _left(
        DECODING,
        "repeats_threshold",
        "integer",
        "text is in doubt that says the same this many times running: it is a loop",
        Thresholds.repeats,
    ),
    _left(SPEECH, "vad", "choice", "silero, energy (loudness alone) or none", SpeechOptions.detector),
    _left(SPEECH, "vad_threshold", "number", "probability at which speech begins", SpeechOptions.threshold),
    _left(SPEECH, "vad_hysteresis", "number", "speech ends at the threshold less this", SpeechOptions.hysteresis),
    _left(SPEECH, "vad_min_speech_ms", "number", "what is shorter is no speech", SpeechOptions.min_speech_ms),
    _left(SPEECH, "vad_min_silence_ms", "number", "what is shorter is no pause", SpeechOptions.min_silence_ms),
    _left(
        SPEECH,
        "vad_padding_before_ms",
        "number",
        "sound kept before a window's first speech",
        SpeechOptions.padding_before_ms,
    ),
    _left(
        SPEECH,
        "vad_padding_after_ms",
        "number",
        "sound kept after a window's last speech",
        SpeechOptions.padding_after_ms,
    ),
    _left(SPEECH, "max_window_seconds", "number", "the longest window", SpeechOptions.max_window_seconds),
    _left(SPEECH, "max_silence_seconds", "number", "a longer silence ends a window", SpeechOptions.max_silence_seconds),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}
