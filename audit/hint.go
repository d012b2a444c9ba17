package audit

import "errors"

// hinted is an error with a piece of advice for the operator.
type hinted struct {
	err  error
	hint string
}

// WithHint attaches to err what the operator can do about it: one sentence,
// with the next command to run where there is one. A nil err stays nil.
func WithHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &hinted{err, hint}
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }
func (h *hinted) Hint() string  { return h.hint }

// Hint returns the outermost advice in err's chain, or "". Any error type with
// a method Hint() string takes part.
func Hint(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// ErrNeedsHuman is wrapped by every error after which going on could lose or
// falsify history: the sidecar stops, and does not restart the stream by
// itself.
var ErrNeedsHuman = errors.New("stopped: a human must look")
