package pgwitness

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/baseline"
	"github.com/pgwitness/pgwitness/cdc"
	"github.com/pgwitness/pgwitness/sink"
)

const (
	// measureInterval is how often the metrics of lag are taken.
	measureInterval = 10 * time.Second
	// saveTimeout limits what watch waits for ClickHouse, which may be away.
	saveTimeout = 5 * time.Second
	// stopTimeout limits the entry stop, and farewellWait the time that it may
	// take to be read back: a shutdown waits for neither any longer.
	stopTimeout  = 2 * time.Second
	farewellWait = time.Second
)

// marks tell how far a pipeline is, to whoever watches it.
type marks struct {
	read    atomic.Uint64 // audit.LSN: end of the last transaction that was taken in
	entries atomic.Uint64 // stored by now
	stored  atomic.Uint64 // audit.LSN: commit position of the last of them
}

// took marks that the transactions of feed were taken in.
func (m *marks) took(feed *audit.Feed) {
	for i := len(feed.Txs) - 1; i >= 0; i-- {
		if end := feed.Txs[i].EndLSN; end != 0 {
			m.read.Store(uint64(end))
			return
		}
	}
}

// startEvent is the entry start.
type startEvent struct {
	Version       string `json:"version"`
	Host          string `json:"host,omitempty"`
	PID           int    `json:"pid"`
	Configuration string `json:"configuration"` // SHA-256, without passwords
	// ConfigurationBefore is that of the last start, if it was another one.
	ConfigurationBefore string `json:"configuration_before,omitempty"`
	Timeline            uint32 `json:"timeline"`
	Slot                string `json:"slot"`
	SlotPosition        string `json:"slot_position"`
	Geography           string `json:"geography,omitempty"` // edition of the database of places
}

// announce records that the sidecar begins to write this chain, with which
// configuration, and what the publication lets through. A crash behind an event
// and before the state is saved makes the next start repeat the event.
func (s *stream) announce(ctx context.Context, t *tenure, k *sink.Sink, reader *cdc.Reader, spooling bool) error {
	if p, err := t.readPublication(ctx, s.cfg.Postgres.Publication); err != nil && !busy(err) {
		return err
	} else if err == nil && p == nil {
		return publicationLoss(s.cfg).err(s.cfg.Name)
	}
	if !s.started {
		if err := s.writeStart(ctx, t, reader); err != nil {
			return err
		}
		s.started = true
	}
	if err := s.checkPublication(ctx, t); err != nil {
		return err
	}
	if spooling { // ClickHouse may be away: the watcher saves it later
		return nil
	}
	return k.SaveState(ctx, s.state)
}

func (s *stream) writeStart(ctx context.Context, t *tenure, reader *cdc.Reader) error {
	hash, err := s.cfg.hash()
	if err != nil {
		return err
	}
	slot, err := reader.Slot(ctx)
	if err != nil {
		return err
	}
	e := startEvent{
		Version: s.w.Version, PID: os.Getpid(), Configuration: hash,
		Timeline: slot.Timeline, Slot: s.cfg.Postgres.Slot, SlotPosition: slot.ConfirmedFlush.String(),
		Geography: s.w.edition(),
	}
	e.Host, _ = os.Hostname() // an entry without it is better than none
	if s.state.Configuration != "" && s.state.Configuration != hash {
		e.ConfigurationBefore = s.state.Configuration
		s.log.Info().Str("before", s.state.Configuration).Str("now", hash).Msg("configuration changed")
	}
	s.state.Configuration = hash
	_, err = t.report(ctx, act{action: "start", resourceType: streamResource, resourceID: s.cfg.Name, details: e})
	return err
}

// hash is the SHA-256 of everything that the configuration says about the
// stream, without its passwords: they decide nothing about the trail, and could
// be guessed from the hash.
func (s StreamConfig) hash() (string, error) {
	s.Postgres.DSN, s.Postgres.AdminDSN = withoutPassword(s.Postgres.DSN), withoutPassword(s.Postgres.AdminDSN)
	text, err := json.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("hash configuration: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// withoutPassword keeps of a DSN who connects where to.
func withoutPassword(dsn string) string {
	if dsn == "" {
		return ""
	}
	cfg, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return "unreadable"
	}
	return fmt.Sprintf("%s@%s:%d/%s", cfg.User, cfg.Host, cfg.Port, cfg.Database)
}

// watcher looks after a stream while its pipeline runs: it writes heartbeats,
// compares the publication, and measures. It owns the tenure meanwhile, and
// ends the stream when that is lost.
type watcher struct {
	stream *stream
	tenure *tenure
	sink   *sink.Sink
	reader *cdc.Reader
	marks  *marks
	rows   *baseline.Runner // nil: no baseline
}

// run watches until ctx ends (nil) or the connection does. What has begun when
// ctx ends is finished: an interrupted statement would cost the connection,
// which is needed for the entry stop.
func (w *watcher) run(ctx context.Context) error {
	cfg := w.stream.cfg
	measure := time.NewTicker(measureInterval)
	defer measure.Stop()
	look := time.NewTicker(cfg.WatchInterval)
	defer look.Stop()
	var beat <-chan time.Time // nil: never
	if *cfg.HeartbeatInterval > 0 {
		ticker := time.NewTicker(*cfg.HeartbeatInterval)
		defer ticker.Stop()
		beat = ticker.C
	}
	work := context.WithoutCancel(ctx)
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-measure.C:
			w.measure(work)
		case <-look.C:
			err = w.look(work)
		case <-beat:
			err = w.heartbeat(work)
		}
		if err != nil {
			return err
		}
	}
}

// measure keeps the metrics of lag.
func (w *watcher) measure(ctx context.Context) {
	slot, err := w.reader.Slot(ctx)
	if err != nil {
		return // the reader will notice, and tell
	}
	m, name := w.stream.w.metrics, w.stream.cfg.Name
	m.lagBytes.WithLabelValues(name).Set(float64(slot.Lag()))
	m.retained.WithLabelValues(name).Set(float64(slot.Retained()))
}

// look compares the publication and the catalog with what was recorded. While ClickHouse is
// away the state is saved with a later look; until then a restart would record
// an edit twice, and never lose it.
func (w *watcher) look(ctx context.Context) error {
	if err := w.stream.checkPublication(ctx, w.tenure); err != nil {
		return err
	}
	if w.rows != nil {
		w.rows.Wake() // a table may have been added, or altered
	}
	if err := w.stream.checkCatalog(ctx, w.tenure); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	if err := w.sink.SaveState(ctx, w.stream.state); err != nil {
		w.stream.log.Debug().Err(err).Msg("state not saved")
	}
	return nil
}

// heartbeatEvent is the entry heartbeat: that there was somebody to see
// changes, although there may have been none.
type heartbeatEvent struct {
	Entries      uint64 `json:"entries"`       // stored by then
	Read         string `json:"read"`          // position up to which the log was read
	SlotPosition string `json:"slot_position"` // acknowledged to the slot
	Lag          uint64 `json:"lag_bytes"`     // written and not acknowledged
}

func (w *watcher) heartbeat(ctx context.Context) error {
	e := heartbeatEvent{Entries: w.marks.entries.Load(), Read: audit.LSN(w.marks.read.Load()).String()}
	if slot, err := w.reader.Slot(ctx); err == nil {
		e.SlotPosition, e.Lag = slot.ConfirmedFlush.String(), slot.Lag()
	}
	name := w.stream.cfg.Name
	lsn, err := w.tenure.report(ctx, act{action: "heartbeat", resourceType: streamResource, resourceID: name, details: e})
	if err == nil && lsn != 0 {
		w.stream.w.metrics.heartbeatAt.WithLabelValues(name).SetToCurrentTime()
	}
	return err
}

// stopEvent is the entry stop.
type stopEvent struct {
	Version string `json:"version"`
	Host    string `json:"host,omitempty"`
	PID     int    `json:"pid"`
	Entries uint64 `json:"entries"` // stored by then
}

// farewell records that the sidecar stops, and waits a moment for the entry to
// come back, so that it is stored with the last batch. What does not come back
// in time waits in the log for the next start; the shutdown does not wait.
func (w *watcher) farewell() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	e := stopEvent{Version: w.stream.w.Version, PID: os.Getpid(), Entries: w.marks.entries.Load()}
	e.Host, _ = os.Hostname() // an entry without it is better than none
	lsn, err := w.tenure.report(ctx, act{action: "stop", resourceType: streamResource, resourceID: w.stream.cfg.Name, details: e})
	if err != nil {
		w.stream.log.Warn().Err(err).Msg("stop not recorded")
		return
	}
	if lsn == 0 {
		return // it was not written
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	patience := time.NewTimer(farewellWait)
	defer patience.Stop()
	for audit.LSN(w.marks.read.Load()) <= lsn {
		select {
		case <-tick.C:
		case <-patience.C:
			return
		}
	}
}
