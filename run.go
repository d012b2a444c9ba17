package pgwitness

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/cdc"
)

const (
	firstBackoff = 500 * time.Millisecond
	maxBackoff   = 30 * time.Second
	// steady is how long a stream must have run, if it stored nothing, for its
	// next failure to be retried at once.
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
	if err := w.openPlaces(); err != nil {
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
			w.states.set(s.cfg.Name, false, "stopped, a human must look: "+err.Error())
			w.metrics.needsHuman.WithLabelValues(s.cfg.Name).Set(1)
			// The error is returned when the last stream has ended, which may be
			// days from now.
			s.log.Error().Err(err).Str("hint", audit.Hint(err)).Msg("stream stopped for good")
			return fmt.Errorf("stream %s: %w", s.cfg.Name, err)
		case errors.Is(err, cdc.ErrSlotInUse):
			// Somebody was quicker. Whoever reads the slot now, we are his standby.
			w.states.set(s.cfg.Name, true, "standby: "+err.Error())
			if !sleep(ctx, standbyPause) {
				return nil
			}
			continue
		}
		w.states.set(s.cfg.Name, false, "retrying: "+err.Error())
		w.metrics.restarts.WithLabelValues(s.cfg.Name).Inc()
		if s.stored || time.Since(began) > steady {
			backoff = firstBackoff // it had done its work: this is another trouble than the last
		}
		s.log.Warn().Err(err).Str("hint", audit.Hint(err)).Dur("retry_in", backoff).Msg("stream interrupted")
		if !sleep(ctx, backoff) {
			return nil
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// sleep waits; false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// takeOver returns once this process has the stream. Until then it is a hot
// standby: it looks every second whether the one at work is gone, and writes
// nothing, because what it does for the start would disturb that one's inserts.
func (s *stream) takeOver(ctx context.Context) (*tenure, error) {
	t, err := openTenure(ctx, s.cfg, s.log)
	if err != nil {
		return nil, err
	}
	standby := s.w.metrics.standby.WithLabelValues(s.cfg.Name)
	defer standby.Set(0)
	for waited := false; ; waited = true {
		holder, err := t.take(ctx)
		if err == nil && holder == 0 {
			return t, nil
		}
		if err == nil && !waited {
			s.log.Info().Int("pid", holder).Msg("standby: another sidecar has the stream")
		}
		if err == nil {
			if !t.held { // another one was at work in between
				s.started, s.vault = false, nil
			}
			standby.Set(1)
			s.w.states.set(s.cfg.Name, true, fmt.Sprintf("standby: the stream is in use by pid %d of the database", holder))
			if sleep(ctx, standbyPause) {
				continue
			}
			err = ctx.Err()
		}
		t.close()
		return nil, err
	}
}
