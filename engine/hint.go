package engine

// hintError is an error that knows what its reader can do about it.
type hintError struct {
	error
	hint string
}

// Hint is the next thing to try.
func (e *hintError) Hint() string { return e.hint }

func (e *hintError) Unwrap() error { return e.error }

func withHint(err error, hint string) error { return &hintError{err, hint} }
