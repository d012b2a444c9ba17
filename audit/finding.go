package audit

// Severity ranks a Finding.
type Severity string

// The severities, mildest first.
const (
	OK      Severity = "ok"
	Info    Severity = "info"
	Warning Severity = "warning"
	Failure Severity = "failure"
)

// Finding is what a preflight check, a verification or an anomaly rule
// reports. It is a result, not a Go error.
type Finding struct {
	Severity Severity `json:"severity"`
	Check    string   `json:"check"`             // stable name of the check, e.g. "wal_level"
	Subject  string   `json:"subject,omitempty"` // what it is about, e.g. "public.orders"
	Message  string   `json:"message"`           // one sentence
	Fix      string   `json:"fix,omitempty"`     // command or SQL that mends it
}
