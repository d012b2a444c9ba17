package pgwitness

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgwitness/pgwitness/audit"
)

const (
	firstBackoff = 500 * time.Millisecond
	maxBackoff   = 30 * time.Second
	// steady is how long a stream must have run for its next failure to be
	// retried at once.
	steady = time.Minute
)

// Run is the sidecar: it streams every configured database until ctx ends, and
// then drains. A stream that fails is taken up again with growing pauses; one
// that needs a human stops for good, and the others go on. Run returns when no
// stream is left, with the errors of those that needed a human.
func (w *Witness) Run(ctx context.Context) error {
	if err := w.makeStateDir(); err != nil {
		return err
	}
	listener, err := w.listen()
	if err != nil {
		return err
	}
	release, err := w.attach(ctx)
	if err != nil {
		return errors.Join(err, closeListener(listener))
	}
	defer release()

	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	var g errgroup.Group
	g.Go(func() error {
		defer stopServing()
		return w.runStreams(ctx)
	})
	g.Go(func() error { return w.serveHTTP(serving, listener) })
	return g.Wait()
}

// runStreams returns when every stream has ended.
func (w *Witness) runStreams(ctx context.Context) error {
	errs := make([]error, len(w.cfg.Streams))
	var g errgroup.Group
	for i := range w.cfg.Streams {
		g.Go(func() error {
			errs[i] = w.supervise(ctx, newStream(w, w.cfg.Streams[i]))
			return nil
		})
	}
	_ = g.Wait() // no member returns an error: one stream must not end the others
	return errors.Join(errs...)
}

// supervise runs s again and again until ctx ends or a human must look.
func (w *Witness) supervise(ctx context.Context, s *stream) error {
	backoff := firstBackoff
	for {
		began := time.Now()
		err := s.run(ctx)
		w.metrics.up.WithLabelValues(s.cfg.Name).Set(0)
		switch {
		case err == nil || ctx.Err() != nil && errors.Is(err, context.Canceled):
			w.states.set(s.cfg.Name, false, "stopped")
			return nil
		case errors.Is(err, audit.ErrNeedsHuman) || errors.Is(err, ErrConfig):
			w.states.set(s.cfg.Name, false, err.Error())
			return fmt.Errorf("stream %s: %w", s.cfg.Name, err)
		}
		w.states.set(s.cfg.Name, false, "retrying: "+err.Error())
		w.metrics.restarts.WithLabelValues(s.cfg.Name).Inc()
		if time.Since(began) > steady {
			backoff = firstBackoff
		}
		s.log.Warn().Err(err).Str("hint", audit.Hint(err)).Dur("retry_in", backoff).Msg("stream interrupted")
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, maxBackoff)
	}
}
