package pgwitness

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/enrich"
	"github.com/pgwitness/pgwitness/spool"
	"github.com/pgwitness/pgwitness/vault"
)

// metrics are the Prometheus metrics of a sidecar. All carry the label stream.
type metrics struct {
	registry *prometheus.Registry

	up           *prometheus.GaugeVec
	restarts     *prometheus.CounterVec
	entries      *prometheus.CounterVec
	attributed   *prometheus.CounterVec
	actorSources *prometheus.CounterVec
	bypassed     *prometheus.CounterVec
	forged       *prometheus.CounterVec
	ruleErrors   *prometheus.CounterVec
	refused      *prometheus.CounterVec
	headSequence *prometheus.GaugeVec
	lagBytes     *prometheus.GaugeVec
	lagSeconds   *prometheus.GaugeVec
	retained     *prometheus.GaugeVec
	gaps         *prometheus.CounterVec
	tampered     *prometheus.CounterVec
	needsHuman   *prometheus.GaugeVec
	standby      *prometheus.GaugeVec
	heartbeatAt  *prometheus.GaugeVec

	baselineRows    *prometheus.CounterVec
	baselineRetries *prometheus.CounterVec
	baselinePending *prometheus.GaugeVec

	batchRows    *prometheus.HistogramVec
	batchSeconds *prometheus.HistogramVec
	delay        *prometheus.HistogramVec

	spooling      *prometheus.GaugeVec
	spoolBytes    *prometheus.GaugeVec
	spoolEntries  *prometheus.GaugeVec
	spoolAge      *prometheus.GaugeVec
	spoolFailures *prometheus.CounterVec

	vaultTokens  *prometheus.GaugeVec
	vaultKeys    *prometheus.GaugeVec
	vaultMade    *prometheus.GaugeVec
	vaultHits    *prometheus.GaugeVec
	vaultMisses  *prometheus.GaugeVec
	vaultWaiting *prometheus.GaugeVec
}

func newMetrics() *metrics {
	labels := []string{"stream"}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "pgwitness", Name: name, Help: help}, labels)
	}
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "pgwitness", Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "pgwitness", Name: name, Help: help, Buckets: buckets}, labels)
	}
	m := &metrics{
		registry:   prometheus.NewRegistry(),
		up:         gauge("up", "1 while the stream is connected to both databases."),
		restarts:   counter("restarts_total", "Times the stream was taken up again after an error."),
		entries:    counter("entries_total", "Entries stored by this process."),
		attributed: counter("entries_attributed_total", "Entries whose actor is more than a database user. Divided by entries_total: attribution coverage."),
		actorSources: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "pgwitness", Name: "entries_by_actor_source_total",
			Help: "Entries by how the actor is known: session, preset, comment, row, rule, observed (the database user alone), none."}, []string{"stream", "source"}),
		bypassed:     counter("entries_bypassed_total", "Entries without any stamp."),
		forged:       counter("forged_messages_total", "Messages with our prefix that were not ours."),
		ruleErrors:   counter("rule_errors_total", "Action rules that failed on a row."),
		refused:      counter("refused_total", "Attempts that a guard refused."),
		headSequence: gauge("head_sequence", "Sequence of the newest stored entry."),
		lagBytes:     gauge("lag_bytes", "Write-ahead log written and not yet acknowledged as stored."),
		lagSeconds:   gauge("lag_seconds", "Age of the oldest change known to be not yet stored; 0 when none is."),
		retained:     gauge("retained_wal_bytes", "Write-ahead log that the server keeps for the slot."),
		gaps:         counter("gaps_total", "Gaps found by this process: a stream that stopped because changes are missing, or an edit of the publication that may have hidden some."),
		tampered:     counter("acts_against_auditor_total", "Acts against the auditor that were seen: triggers disabled, our objects altered, the publication edited, rights to the keys, settings that blind capture. Seen again after a restart, they count again."),
		needsHuman:   gauge("needs_human", "1 when the stream stopped for good because going on could lose or falsify history."),
		standby:      gauge("standby", "1 while another sidecar has the stream, and this one waits to take over."),
		heartbeatAt:  gauge("last_heartbeat_timestamp_seconds", "When the last heartbeat was written into the log of the audited database."),

		baselineRows:    counter("baseline_rows_total", "Entries made of rows that were there before the stream began."),
		baselineRetries: counter("baseline_chunks_retried_total", "Chunks of existing rows that had to be read again."),
		baselinePending: gauge("baseline_tables_pending", "Published tables whose existing rows are not all in the trail yet."),

		batchRows:    histogram("batch_rows", "Entries per insert.", prometheus.ExponentialBuckets(1, 4, 9)),
		batchSeconds: histogram("batch_seconds", "Seconds per insert.", prometheus.ExponentialBuckets(0.001, 2, 14)),
		delay:        histogram("store_delay_seconds", "Seconds from the commit of the oldest entry of a batch until it was stored.", prometheus.ExponentialBuckets(0.01, 2, 16)),

		spooling:      gauge("spooling", "1 while entries go to the local spool instead of ClickHouse."),
		spoolBytes:    gauge("spool_bytes", "Size of the local spool on disk."),
		spoolEntries:  gauge("spool_entries", "Entries in the local spool that are not known to be stored in ClickHouse."),
		spoolAge:      gauge("spool_age_seconds", "Time since the commit of about the oldest entry in the local spool; 0 when it is empty."),
		spoolFailures: counter("spool_failures_total", "Times the spool could not be written to: it or the disk is full. Nothing is acknowledged meanwhile."),

		vaultTokens:  gauge("vault_tokens", "Personal values that got a token since the stream was taken up."),
		vaultKeys:    gauge("vault_keys_in_memory", "Keys of data subjects that are held in memory."),
		vaultMade:    gauge("vault_keys_made", "Keys made for new data subjects since the stream was taken up."),
		vaultHits:    gauge("vault_key_hits", "Keys that were in memory when a batch needed them, since the stream was taken up."),
		vaultMisses:  gauge("vault_key_misses", "Keys that ClickHouse had to be asked for, since the stream was taken up."),
		vaultWaiting: gauge("vault_journal_records", "Keys and clear values that only the local journal has, while ClickHouse is away."),
	}
	// Of the process itself: memory, allocations, processor time, open files.
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registry.MustRegister(m.vaultTokens, m.vaultKeys, m.vaultMade, m.vaultHits, m.vaultMisses, m.vaultWaiting)
	m.registry.MustRegister(m.up, m.restarts, m.entries, m.attributed, m.actorSources, m.bypassed, m.forged, m.ruleErrors, m.refused,
		m.headSequence, m.lagBytes, m.lagSeconds, m.retained, m.gaps, m.tampered, m.needsHuman, m.standby, m.heartbeatAt,
		m.baselineRows, m.baselineRetries, m.baselinePending, m.batchRows, m.batchSeconds, m.delay,
		m.spooling, m.spoolBytes, m.spoolEntries, m.spoolAge, m.spoolFailures)
	return m
}

// spooled shows how full the spool is, and whether entries go there.
func (m *metrics) spooled(stream string, s spool.State, spooling bool) {
	on, age := 0.0, 0.0
	if spooling {
		on = 1
	}
	if s.Oldest != 0 {
		age = time.Since(time.UnixMicro(s.Oldest)).Seconds()
	}
	m.spooling.WithLabelValues(stream).Set(on)
	m.spoolBytes.WithLabelValues(stream).Set(float64(s.Bytes))
	m.spoolEntries.WithLabelValues(stream).Set(float64(s.Entries))
	m.spoolAge.WithLabelValues(stream).Set(age)
}

// vault shows what the vault of a stream did.
func (m *metrics) vault(stream string, s vault.Stats) {
	m.vaultTokens.WithLabelValues(stream).Set(float64(s.Tokens))
	m.vaultKeys.WithLabelValues(stream).Set(float64(s.Held))
	m.vaultMade.WithLabelValues(stream).Set(float64(s.Made))
	m.vaultHits.WithLabelValues(stream).Set(float64(s.Hits))
	m.vaultMisses.WithLabelValues(stream).Set(float64(s.Misses))
	m.vaultWaiting.WithLabelValues(stream).Set(float64(s.Waiting))
}

// stored counts a batch that was stored.
func (m *metrics) stored(stream string, b *batch, took time.Duration, now time.Time) {
	m.entries.WithLabelValues(stream).Add(float64(b.rows))
	m.batchRows.WithLabelValues(stream).Observe(float64(b.rows))
	m.batchSeconds.WithLabelValues(stream).Observe(took.Seconds())
	m.head(stream, b.after)
	oldest := time.UnixMicro(b.oldest)
	m.delay.WithLabelValues(stream).Observe(now.Sub(oldest).Seconds())
}

// head shows the end of the chain.
func (m *metrics) head(stream string, h audit.Head) {
	if h.Size > 0 {
		m.headSequence.WithLabelValues(stream).Set(float64(h.Size - 1))
	}
}

// enriched adds what has happened since the last call.
func (m *metrics) enriched(stream string, before, after enrich.Stats) {
	m.attributed.WithLabelValues(stream).Add(float64(after.Attributed() - before.Attributed()))
	for i, source := range enrich.ActorSources() {
		if n := after.BySource[i] - before.BySource[i]; n > 0 {
			m.actorSources.WithLabelValues(stream, source.String()).Add(float64(n))
		}
	}
	m.bypassed.WithLabelValues(stream).Add(float64(after.Bypassed - before.Bypassed))
	m.forged.WithLabelValues(stream).Add(float64(after.Forged - before.Forged))
	m.ruleErrors.WithLabelValues(stream).Add(float64(after.RuleErrors - before.RuleErrors))
	m.refused.WithLabelValues(stream).Add(float64(after.Refused - before.Refused))
}
