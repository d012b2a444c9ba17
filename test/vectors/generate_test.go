package vectors

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/chain"
)

const stream = "vectors"

// made is one entry with the story that its archive tells.
type made struct {
	name  string
	about string
	entry audit.Entry
}

// generate makes all archives, by name.
func generate(t *testing.T) map[string]*txtar.Archive {
	t.Helper()
	secret, random := secretAndRandom()
	g := chain.Genesis{
		Stream: stream, SystemID: "7500000000000000001", Timeline: 1, Database: "shop", Slot: "pgwitness_shop", Publication: "pgwitness_shop",
		LogPublicKey: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public().(ed25519.PublicKey), Random: random,
		CreatedAt: micro("2026-01-02T03:04:05.000006Z"),
	}
	archives := map[string]*txtar.Archive{"00-genesis.txtar": genesisArchive(t, &g, secret)}
	head := g.Head()
	var tree chain.Tree
	roots := fmt.Appendf(nil, "0 %s\n", tree.Root())
	for i, m := range entries() {
		e := sealWithZeroBytes(&m.entry, head, secret)
		head = chain.New(secret, 1).Seal(head, []audit.Entry{unsealed(e)})
		tree.Add(e.Hash)
		roots = fmt.Appendf(roots, "%d %s\n", i+1, tree.Root())
		archives[fmt.Sprintf("%02d-%s.txtar", i+1, m.name)] = entryArchive(t, &e, m.about)
	}
	archives["99-tree.txtar"] = &txtar.Archive{
		Comment: []byte("RFC 6962 Merkle roots over the entry hashes of the first n vectors, as lines\n\"n root\". Leaf index = sequence; leaf = SHA256(0x00 || entry_hash), node =\nSHA256(0x01 || left || right); the root of nothing is SHA256 of nothing.\n\n"),
		Files:   []txtar.File{{Name: "roots", Data: roots}},
	}
	return archives
}

// saltZeroAt is the sequence whose salt ends with a zero byte, hashZeroAt the
// one whose entry hash does: functions that take bytes for text lose them.
const (
	saltZeroAt = 3
	hashZeroAt = 4
)

// secretAndRandom searches for a stream secret that gives a salt with a zero
// byte at its end; the random bytes of the genesis end with one by decree.
func secretAndRandom() (secret, random [32]byte) {
	for n := 0; ; n++ {
		secret = sha256.Sum256(fmt.Appendf(nil, "stream secret of the vectors, try %d", n))
		e := []audit.Entry{{}}
		chain.New(secret, 1).Seal(audit.Head{Size: saltZeroAt}, e)
		if e[0].Salt[15] == 0 {
			break
		}
	}
	random = sha256.Sum256([]byte("random bytes of the vectors"))
	random[31] = 0
	return secret, random
}

// sealWithZeroBytes seals m behind head; the entry hashZeroAt gets a reason
// note that makes its hash end with a zero byte.
func sealWithZeroBytes(m *audit.Entry, head audit.Head, secret [32]byte) audit.Entry {
	for n := 0; ; n++ {
		e := *m
		if head.Size == hashZeroAt {
			e.ReasonNote = audit.T(fmt.Sprintf("note number %d", n))
		}
		sealed := []audit.Entry{e}
		chain.New(secret, 1).Seal(head, sealed)
		if head.Size != hashZeroAt || sealed[0].Hash[31] == 0 {
			return sealed[0]
		}
	}
}

// unsealed is e without what Seal fills in.
func unsealed(e audit.Entry) audit.Entry {
	e.Sequence, e.Salt, e.PrevHash, e.Hash = 0, audit.Salt{}, audit.Hash{}, audit.Hash{}
	return e
}

func genesisArchive(t *testing.T, g *chain.Genesis, secret [32]byte) *txtar.Archive {
	names := strings.Fields("tag stream system_id timeline database slot publication log_public_key random created_at")
	preimage := g.AppendPreimage(nil)
	return &txtar.Archive{
		Comment: []byte("The genesis of the vectors. Its hash is the prev_hash of sequence 0. random ends\nwith a zero byte.\n\nstream_secret is what the salts are made with, salt = HMAC-SHA256(stream_secret,\ndec(sequence)) cut to 16 bytes; of a real stream nobody publishes it.\n\n"),
		Files: []txtar.File{
			{Name: "genesis.json", Data: formatGenesis(t, g)},
			{Name: "preimage.txt", Data: readable(names, preimage)},
			{Name: "preimage.hex", Data: hexLines(preimage)},
			{Name: "genesis_hash", Data: fmt.Appendln(nil, g.Hash())},
			{Name: "stream_secret", Data: fmt.Appendf(nil, "%x\n", secret)},
		},
	}
}

func entryArchive(t *testing.T, e *audit.Entry, about string) *txtar.Archive {
	names := strings.Fields(`tag stream sequence id timestamp actor_id actor_email actor_role actor_type resource_type resource_id
		action old_values new_values changed source ip_address user_agent geo_country geo_city geo_lat geo_lon reason_code reason_note
		attribution request_id trace_id api_key_id db_user application_name schema_name table_name operation xid commit_lsn ordinal salt`)
	preimage := audit.AppendPreimage(nil, e)
	return &txtar.Archive{
		Comment: []byte(about + "\n\n"),
		Files: []txtar.File{
			{Name: "entry.json", Data: formatEntry(t, e)},
			{Name: "preimage.txt", Data: readable(names, preimage)},
			{Name: "preimage.hex", Data: hexLines(preimage)},
			{Name: "content_hash", Data: fmt.Appendln(nil, chain.Content(e))},
			{Name: "prev_hash", Data: fmt.Appendln(nil, e.PrevHash)},
			{Name: "entry_hash", Data: fmt.Appendln(nil, e.Hash)},
		},
	}
}

// entries are the vectors, in commit order, not yet sealed.
func entries() []made {
	all := append(plain(), awkward()...)
	for i := range all {
		e := &all[i].entry
		e.Stream = stream
		e.ID = audit.EntryID(stream, e.Timestamp, e.Position())
	}
	return all
}

// plain are entries of every day, and the two borders of time.
func plain() []made {
	return []made{
		{"all-null", "Every column that may be NULL is NULL (\"n,\"), no column changed, and every\nnumber is 0. The commit time is one microsecond before 1970: a negative number.",
			audit.Entry{Timestamp: -1}},
		{"all-empty", "Every text is the empty string (\"0:,\"), which is not NULL. changed holds one\ncolumn with an empty name, so it is ns(\"0:,\").",
			withTexts(audit.Entry{Timestamp: 0, XID: 1, CommitLSN: 1, Changed: []string{""}}, "")},
		{"approval", "An update with every column filled: an approved order.", approval()},
		{"zero-salt", "The salt ends with a zero byte: what takes a FixedString for text loses it.",
			simple("2026-01-31T23:59:58Z", 0x16B374A00, "create", "insert")},
		{"month-end", "The last microsecond of a month, and an entry hash that ends with a zero byte,\nwhich the next entry carries as its prev_hash.",
			simple("2026-01-31T23:59:59.999999Z", 0x16B374B00, "delete", "delete")},
		{"month-start", "The next microsecond: another month, another partition, the same chain.",
			simple("2026-02-01T00:00:00Z", 0x16B374C00, "create", "insert")},
		{"earlier-commit-time", "Commit times need not rise with the position in the log: the clock was set back.",
			simple("2026-01-15T00:00:00.5Z", 0x16B374D00, "truncate", "truncate")},
		{"same-transaction", "The second change of the same transaction: same commit_lsn, ordinal 1.",
			second(simple("2026-01-15T00:00:00.5Z", 0x16B374D00, "truncate", "truncate"))},
		{"tokens", "Personal values are tokens; their clear form is nowhere in the entry.", tokens()},
	}
}

// awkward are entries of bytes that one of the implementations could trip over.
func awkward() []made {
	note := func(lsn audit.LSN, note string) audit.Entry {
		e := simple("2026-02-03T04:05:06.789012Z", lsn, "update", "update")
		e.ReasonNote = audit.T(note)
		return e
	}
	var controls strings.Builder
	for c := range 0x20 {
		controls.WriteByte(byte(c))
	}
	controls.WriteString("\x7f \\ \" ' , : % $ { } \\N \\0 \\x41 \\u0041")
	multi := note(0x200000000, "é ß 漢字 😀 e\u0301 עברית \u202eright to left\u202c \u2028 line separator")
	multi.Changed = []string{"größe", "preis", "数量", "😀"}
	multi.NewValues = audit.T(`{"größe":"über","数量":"三"}`)
	wide := note(0x200000400, "300 columns")
	for i := range 300 {
		wide.Changed = append(wide.Changed, fmt.Sprintf("c%03d", i))
	}
	big := note(0x200000500, "10,000 bytes")
	big.NewValues = audit.T(`{"id":7,"body":"` + strings.Repeat("0123456789", 1000) + `"}`)
	limits := note(1<<64-1, "")
	limits.XID, limits.Timestamp = 1<<32-1, micro("2299-12-31T23:59:59.999999Z")
	return []made{
		{"multi-byte", "Text beyond ASCII: lengths are bytes, not characters; nothing is normalised.\nchanged is sorted by bytes.", multi},
		{"control-characters", "All control characters, the zero byte among them, and what escapes look like.", note(0x200000100, controls.String())},
		{"not-utf8", "Bytes that are not UTF-8, as a database with encoding SQL_ASCII gives them: a\nlone continuation byte, a cut sequence, an overlong one, a surrogate, 0xFF, and a\nzero byte at the end. In entry.json such a column is {\"hex\": …}.",
			note(0x200000200, "\x80 \xe2\x82 \xc0\xaf \xed\xa0\x80 \xf0\x9f\x98 \xff\xfe\x00")},
		{"look-alikes", "Values that look like netstrings and like NULL do not shift their neighbours.", lookAlikes(note(0x200000300, "n,"))},
		{"many-columns", "300 changed columns: a list of 1,500 bytes and more, its length in four digits.", wide},
		{"big-value", "A value of 10,000 bytes.", big},
		{"limits", "The largest xid and commit_lsn, and the latest commit time that every\nimplementation can hold.", limits},
	}
}

func simple(at string, lsn audit.LSN, action, operation string) audit.Entry {
	return audit.Entry{
		Timestamp: micro(at), XID: 771, CommitLSN: lsn,
		ActorID: audit.T("db:app"), ActorType: audit.T("unknown"),
		ResourceType: audit.T("order"), ResourceID: audit.T("1234"), Action: audit.T(action),
		Attribution: audit.T(`{"actor_id":"observed"}`), DBUser: audit.T("app"),
		SchemaName: audit.T("public"), TableName: audit.T("orders"), Operation: audit.T(operation),
	}
}

func second(e audit.Entry) audit.Entry {
	e.Ordinal++
	e.TableName = audit.T("order_lines")
	return e
}

func approval() audit.Entry {
	e := simple("2026-01-02T03:04:05.123456Z", 0x16B374848, "approve", "update")
	e.ActorID, e.ActorEmail, e.ActorRole, e.ActorType = audit.T("user:42"), audit.T("alice@example.com"), audit.T("manager"), audit.T("human")
	e.OldValues = audit.T(`{"id":1234,"status":"pending","total":"250.00","note":null}`)
	e.NewValues = audit.T(`{"id":1234,"status":"approved","total":"250.00","note":"quote \" and \\ backslash"}`)
	e.Changed = []string{"note", "status"}
	e.Source, e.IPAddress, e.UserAgent = audit.T("admin panel"), audit.T("203.0.113.7"), audit.T("Mozilla/5.0 (X11; Linux x86_64)")
	e.GeoCountry, e.GeoCity, e.GeoLat, e.GeoLon = audit.T("DE"), audit.T("München"), audit.T("48.1374"), audit.T("11.5755")
	e.ReasonCode, e.ReasonNote = audit.T("CUSTOMER_CONFIRMED"), audit.T("confirmed by telephone")
	e.Attribution = audit.T(`{"actor_id":"session","ip_address":"session","reason_code":"session"}`)
	e.RequestID, e.TraceID = audit.T("req-8f14e45f"), audit.T("4bf92f3577b34da6a3ce929d0e0e4736")
	e.APIKeyID, e.ApplicationName = audit.T("key-7"), audit.T("admin 2.3.1")
	return e
}

func tokens() audit.Entry {
	token := func(class, value string) string {
		key := sha256.Sum256([]byte("subject key of the vectors"))
		b := audit.AppendNetstring(key[:], "pgwitness/token/v1")
		b = audit.AppendNetstring(b, class)
		return fmt.Sprintf("pii:%x", sha256.Sum256(audit.AppendNetstring(b, value)))
	}
	e := simple("2026-02-01T08:00:00Z", 0x16B374E00, "update", "update")
	e.ActorEmail = audit.T(token("email", "alice@example.com"))
	e.IPAddress = audit.T(token("ip", "203.0.113.7"))
	e.OldValues = audit.T(`{"id":1234,"email":"` + token("email", "bob@example.com") + `"}`)
	e.NewValues = audit.T(`{"id":1234,"email":"` + token("email", "alice@example.com") + `"}`)
	e.Changed = []string{"email"}
	return e
}

func lookAlikes(e audit.Entry) audit.Entry {
	e.ActorID, e.ActorEmail = audit.T("n,"), audit.T("5:hello,")
	e.Changed = []string{"1:a,1:b,", "n,"}
	e.OldValues, e.NewValues = audit.T("0:,"), audit.T(",")
	return e
}

// withTexts sets every text of e to s.
func withTexts(e audit.Entry, s string) audit.Entry {
	for _, p := range pairs(&row{}, &e) {
		*p.entry = audit.T(s)
	}
	return e
}

func micro(s string) int64 {
	at, _ := time.Parse(time.RFC3339Nano, s) // constants of this file; a wrong one is in the archive for all to see
	return at.UnixMicro()
}

// The search for zero bytes above must have found some.
func TestVectorsHaveZeroBytes(t *testing.T) {
	v := read(t)
	if s := v.entries[saltZeroAt].entry.Salt; s[15] != 0 {
		t.Errorf("salt of %d ends with %#x", saltZeroAt, s[15])
	}
	if h := v.entries[hashZeroAt].entry.Hash; h[31] != 0 {
		t.Errorf("hash of %d ends with %#x", hashZeroAt, h[31])
	}
	if !bytes.Contains(v.entries[11].entry.ReasonNote, []byte{0xff}) {
		t.Errorf("vector %s has no byte 0xFF", v.entries[11].name)
	}
}
