package vectors

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/chain"
)

// text is a nullable column in JSON: null, a string, or {"hex": …} where the
// bytes are not UTF-8.
type text []byte

func (t text) MarshalJSON() ([]byte, error) {
	switch {
	case t == nil:
		return []byte("null"), nil
	case utf8.Valid(t):
		return marshal(string(t))
	}
	return marshal(map[string]string{"hex": hex.EncodeToString(t)})
}

func (t *text) UnmarshalJSON(b []byte) error {
	var s *string
	if err := json.Unmarshal(b, &s); err == nil {
		if s != nil {
			*t = append(text{}, *s...)
		}
		return nil
	}
	var bytes struct{ Hex string }
	if err := json.Unmarshal(b, &bytes); err != nil {
		return err
	}
	decoded, err := hex.DecodeString(bytes.Hex)
	*t = decoded
	return err
}

// row is an entry as sql/verify/export.sql writes it, columns in the order in
// which they are hashed.
type row struct {
	Stream    string `json:"stream"`
	Sequence  uint64 `json:"sequence"`
	ID        string `json:"id"`
	Timestamp int64  `json:"timestamp"`

	ActorID         text   `json:"actor_id"`
	ActorEmail      text   `json:"actor_email"`
	ActorRole       text   `json:"actor_role"`
	ActorType       text   `json:"actor_type"`
	ResourceType    text   `json:"resource_type"`
	ResourceID      text   `json:"resource_id"`
	Action          text   `json:"action"`
	OldValues       text   `json:"old_values"`
	NewValues       text   `json:"new_values"`
	Changed         []text `json:"changed"`
	Source          text   `json:"source"`
	IPAddress       text   `json:"ip_address"`
	UserAgent       text   `json:"user_agent"`
	GeoCountry      text   `json:"geo_country"`
	GeoCity         text   `json:"geo_city"`
	GeoLat          text   `json:"geo_lat"`
	GeoLon          text   `json:"geo_lon"`
	ReasonCode      text   `json:"reason_code"`
	ReasonNote      text   `json:"reason_note"`
	Attribution     text   `json:"attribution"`
	RequestID       text   `json:"request_id"`
	TraceID         text   `json:"trace_id"`
	APIKeyID        text   `json:"api_key_id"`
	DBUser          text   `json:"db_user"`
	ApplicationName text   `json:"application_name"`
	SchemaName      text   `json:"schema_name"`
	TableName       text   `json:"table_name"`
	Operation       text   `json:"operation"`

	XID       uint32 `json:"xid"`
	CommitLSN uint64 `json:"commit_lsn"`
	Ordinal   uint32 `json:"ordinal"`
	Salt      string `json:"salt"`
	PrevHash  string `json:"prev_hash"`
	EntryHash string `json:"entry_hash"`
}

// genesisRow is a genesis as sql/verify/export_genesis.sql writes it.
type genesisRow struct {
	Stream       string `json:"stream"`
	SystemID     string `json:"system_id"`
	Timeline     uint32 `json:"timeline"`
	Database     string `json:"database"`
	Slot         string `json:"slot"`
	Publication  string `json:"publication"`
	LogPublicKey string `json:"log_public_key"`
	Random       string `json:"random"`
	CreatedAt    int64  `json:"created_at"`
}

// pair is a text column on both sides.
type pair struct {
	json  *text
	entry *audit.Text
}

func pairs(r *row, e *audit.Entry) []pair {
	return []pair{
		{&r.ActorID, &e.ActorID}, {&r.ActorEmail, &e.ActorEmail}, {&r.ActorRole, &e.ActorRole}, {&r.ActorType, &e.ActorType},
		{&r.ResourceType, &e.ResourceType}, {&r.ResourceID, &e.ResourceID}, {&r.Action, &e.Action},
		{&r.OldValues, &e.OldValues}, {&r.NewValues, &e.NewValues},
		{&r.Source, &e.Source}, {&r.IPAddress, &e.IPAddress}, {&r.UserAgent, &e.UserAgent},
		{&r.GeoCountry, &e.GeoCountry}, {&r.GeoCity, &e.GeoCity}, {&r.GeoLat, &e.GeoLat}, {&r.GeoLon, &e.GeoLon},
		{&r.ReasonCode, &e.ReasonCode}, {&r.ReasonNote, &e.ReasonNote},
		{&r.Attribution, &e.Attribution}, {&r.RequestID, &e.RequestID}, {&r.TraceID, &e.TraceID},
		{&r.APIKeyID, &e.APIKeyID}, {&r.DBUser, &e.DBUser}, {&r.ApplicationName, &e.ApplicationName},
		{&r.SchemaName, &e.SchemaName}, {&r.TableName, &e.TableName}, {&r.Operation, &e.Operation},
	}
}

func parseEntry(t *testing.T, line string) audit.Entry {
	t.Helper()
	var r row
	decode(t, line, &r)
	id, ok := audit.ParseUUID(r.ID)
	if !ok {
		t.Fatalf("entry %d: id %q", r.Sequence, r.ID)
	}
	e := audit.Entry{
		ID: id, Stream: r.Stream, Sequence: r.Sequence, Timestamp: r.Timestamp,
		XID: r.XID, CommitLSN: audit.LSN(r.CommitLSN), Ordinal: r.Ordinal,
		Salt: audit.Salt([]byte(unhex(t, r.Salt))), PrevHash: hashOf(r.PrevHash), Hash: hashOf(r.EntryHash),
	}
	for _, name := range r.Changed {
		e.Changed = append(e.Changed, string(name))
	}
	for _, p := range pairs(&r, &e) {
		*p.entry = audit.Text(*p.json)
	}
	return e
}

func formatEntry(t *testing.T, e *audit.Entry) []byte {
	t.Helper()
	r := row{
		Stream: e.Stream, Sequence: e.Sequence, ID: e.ID.String(), Timestamp: e.Timestamp, Changed: []text{},
		XID: e.XID, CommitLSN: uint64(e.CommitLSN), Ordinal: e.Ordinal,
		Salt: hex.EncodeToString(e.Salt[:]), PrevHash: e.PrevHash.String(), EntryHash: e.Hash.String(),
	}
	for _, name := range e.Changed {
		r.Changed = append(r.Changed, text(name))
	}
	for _, p := range pairs(&r, e) {
		*p.json = text(*p.entry)
	}
	return encode(t, r)
}

func parseGenesis(t *testing.T, line string) chain.Genesis {
	t.Helper()
	var r genesisRow
	decode(t, line, &r)
	return chain.Genesis{
		Stream: r.Stream, SystemID: r.SystemID, Timeline: r.Timeline, Database: r.Database, Slot: r.Slot, Publication: r.Publication,
		LogPublicKey: []byte(unhex(t, r.LogPublicKey)), Random: hashOf(r.Random), CreatedAt: r.CreatedAt,
	}
}

func formatGenesis(t *testing.T, g *chain.Genesis) []byte {
	t.Helper()
	return encode(t, genesisRow{
		Stream: g.Stream, SystemID: g.SystemID, Timeline: g.Timeline, Database: g.Database, Slot: g.Slot, Publication: g.Publication,
		LogPublicKey: hex.EncodeToString(g.LogPublicKey), Random: hex.EncodeToString(g.Random[:]), CreatedAt: g.CreatedAt,
	})
}

func decode(t *testing.T, line string, into any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewBufferString(line))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%v in %.200s", err, line)
	}
}

// encode writes one line.
func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

// marshal is json.Marshal that leaves <, > and & as they are.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
