package flare

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	commonv1 "flare.example/go/gen/flare/common/v1"
)

// Error is how a call or a job failed. Branch on Reason, which is one of flare.common.v1.ErrorReason without its prefix;
// Message is for people and may change.
type Error struct {
	Code    codes.Code
	Reason  string // empty if the failure did not come from Flare itself, such as a lost connection
	Message string
	// Metadata holds the values that Message is made of.
	Metadata map[string]string
	// Violations names each faulty field of the request.
	Violations []Violation
	// Resource is the name of the resource concerned, such as `datasets/iris`; empty if there is none.
	Resource string
	// RetryDelay is how long to wait before the call may succeed; 0 if the server does not say.
	RetryDelay time.Duration

	status *status.Status
}

// Violation is what is wrong with a field of a request.
type Violation struct {
	Field       string // its path, such as `view.columns[0].column`
	Description string
}

func (e *Error) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("%s: %s", e.Code, e.Message)
	}
	return fmt.Sprintf("%s (%s): %s", e.Code, e.Reason, e.Message)
}

// GRPCStatus lets status.FromError and status.Code see through the error.
func (e *Error) GRPCStatus() *status.Status {
	return e.status
}

// ReasonOf is the Flare reason of an error, or empty if it has none.
func ReasonOf(err error) string {
	var failure *Error
	if errors.As(err, &failure) {
		return failure.Reason
	}
	return ""
}

// EndedJob is what training jobs and import jobs have in common.
type EndedJob interface {
	GetName() string
	GetState() commonv1.JobState
	GetError() *rpcstatus.Status
}

// JobError says why a job failed, with an *Error inside, or that it was cancelled. It is nil for every other job.
func JobError(job EndedJob) error {
	switch job.GetState() {
	case commonv1.JobState_JOB_STATE_FAILED:
		return fmt.Errorf("%s failed: %w", job.GetName(), fromStatus(status.FromProto(job.GetError())))
	case commonv1.JobState_JOB_STATE_CANCELLED:
		return fmt.Errorf("%s was cancelled", job.GetName())
	default:
		return nil
	}
}

// asError turns what grpc returned into an *Error. An error that holds no status, such as io.EOF, stays as it is.
func asError(err error) error {
	if err == nil {
		return nil
	}
	var failure *Error
	if errors.As(err, &failure) {
		return err
	}
	if found, ok := status.FromError(err); ok {
		return fromStatus(found)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fromStatus(status.FromContextError(err))
	}
	return err
}

func fromStatus(from *status.Status) *Error {
	failure := &Error{Code: from.Code(), Message: from.Message(), status: from}
	for _, detail := range from.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			failure.Reason, failure.Metadata = detail.GetReason(), detail.GetMetadata()
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				failure.Violations = append(
					failure.Violations, Violation{Field: violation.GetField(), Description: violation.GetDescription()},
				)
			}
		case *errdetails.ResourceInfo:
			failure.Resource = detail.GetResourceName()
		case *errdetails.RetryInfo:
			delay := detail.GetRetryDelay()
			failure.RetryDelay = time.Duration(delay.GetSeconds())*time.Second + time.Duration(delay.GetNanos())
		}
	}
	return failure
}
