"""The service's errors, sorted by who must act, drawn before any class.

    contract.errors.InputError      the caller changes the video or the texts (codes in contract/errors.py)

    ServiceError
    ├── CallerError                 the caller changes the request
    │   ├── EmptyBody               no body at all                               empty_body
    │   ├── MalformedBody           not the multipart or JSON it says it is      malformed_body
    │   ├── UnknownField            a form field or query parameter we lack      unknown_field
    │   ├── RepeatedField           the same field twice                         repeated_field
    │   ├── InvalidField            a value out of its range                     invalid_field
    │   ├── UnsupportedContentType  neither a form nor a video body              unsupported_content_type
    │   ├── BodyTooLarge            over the limit, refused before it is read    body_too_large
    │   ├── TextTooLarge            one text field over its byte limit           text_too_large
    │   ├── HeadTooLarge            more headers than are read                   head_too_large
    │   ├── HeadStalled             the headers did not end                      head_stalled
    │   ├── UploadStalled           the body came too slowly                     upload_stalled
    │   ├── DeadlineTooShort        it takes longer than the caller allows       deadline_too_short
    │   ├── DecodeTimeout           the clip takes too long to decode            decode_timeout
    │   ├── DecodeCrashed           the clip ended its decoder                   decode_crashed
    │   ├── Quarantined             the clip did so before                       quarantined_video
    │   ├── Unauthorized            without the token that the path asks for     unauthorized
    │   ├── NotFound                no such path                                 not_found
    │   ├── MethodNotAllowed        not with this method                         method_not_allowed
    │   └── BadRequest              any other fault of HTTP                      bad_request
    ├── RetryError                  the caller retries
    │   ├── Overloaded              too much work in flight                      overloaded
    │   ├── TooManyConnections      no place, or no descriptor, for another      too_many_connections
    │   ├── StorageExhausted        no room for the upload                       storage_exhausted
    │   ├── NotReady                still starting, or a part is being restarted not_ready
    │   ├── Draining                shutting down                                draining
    │   ├── DecoderLost             its decode workers were ended from outside   decoder_lost
    │   ├── LogUnavailable          the decision log cannot be written           log_unavailable
    │   └── DeadlineExceeded        the request's time is over                   deadline_exceeded
    ├── ClientGone                  nobody waits for the answer                  client_gone
    └── OperatorError               the operator acts
        ├── InferenceFailed         the model did not run                        inference_failed
        ├── Unexpected              a defect of the service                      internal_error
        └── StartError              it must not serve; one line on stderr        start_failed
            └── SettingsInvalid     a setting is unknown or out of range         settings_invalid

Each code is the problem's ``code`` and the metrics' ``code`` label. ``detail`` says what to do, and never
holds a path, a library's message or the sender's data (StartError excepted: only the operator reads it).
"""

from __future__ import annotations

from typing import ClassVar


class ServiceError(Exception):
    """Any refusal or failure of the service."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, detail: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s


class CallerError(ServiceError):
    """The caller changes the request."""

    code = "bad_request"


class EmptyBody(CallerError):
    code = "empty_body"


class MalformedBody(CallerError):
    code = "malformed_body"


class UnknownField(CallerError):
    code = "unknown_field"


class RepeatedField(CallerError):
    code = "repeated_field"


class InvalidField(CallerError):
    code = "invalid_field"


class UnsupportedContentType(CallerError):
    code = "unsupported_content_type"


class BodyTooLarge(CallerError):
    code = "body_too_large"


class TextTooLarge(CallerError):
    code = "text_too_large"


class HeadTooLarge(CallerError):
    code = "head_too_large"


class HeadStalled(CallerError):
    code = "head_stalled"


class UploadStalled(CallerError):
    code = "upload_stalled"


class DeadlineTooShort(CallerError):
    code = "deadline_too_short"


class DecodeTimeout(CallerError):
    code = "decode_timeout"


class DecodeCrashed(CallerError):
    code = "decode_crashed"


class Quarantined(CallerError):
    code = "quarantined_video"


class Unauthorized(CallerError):
    code = "unauthorized"


class NotFound(CallerError):
    code = "not_found"


class MethodNotAllowed(CallerError):
    code = "method_not_allowed"


class BadRequest(CallerError):
    code = "bad_request"


class RetryError(ServiceError):
    """The caller sends the same again, later."""

    code = "not_ready"


class Overloaded(RetryError):
    code = "overloaded"


class TooManyConnections(RetryError):
    code = "too_many_connections"


class StorageExhausted(RetryError):
    code = "storage_exhausted"


class NotReady(RetryError):
    code = "not_ready"


class Draining(RetryError):
    code = "draining"


class DecoderLost(RetryError):
    code = "decoder_lost"


class LogUnavailable(RetryError):
    code = "log_unavailable"


class DeadlineExceeded(RetryError):
    code = "deadline_exceeded"


class ClientGone(ServiceError):
    """The client closed the connection; nothing is sent, the log line and the metrics say so."""

    code = "client_gone"


class OperatorError(ServiceError):
    """The operator acts."""


class InferenceFailed(OperatorError):
    code = "inference_failed"


class Unexpected(OperatorError):
    code = "internal_error"


class StartError(OperatorError):
    """The service must not serve. The message is one line for the operator."""

    code = "start_failed"


class SettingsInvalid(StartError):
    code = "settings_invalid"
