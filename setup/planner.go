package setup

import (
	"fmt"
	"strings"
)

// planner collects steps. The first error ends it.
type planner struct {
	*view
	steps   []Step
	watched int // the steps from here on come behind a new event trigger; 0: there is none
	err     error
}

// add adds a step in one transaction, of files of sql/postgres.
func (p *planner) add(why, table string, files []string, fill ...string) {
	s := Step{Why: why, Table: table}
	for _, file := range files {
		text, err := statements(file, fill...)
		if err != nil && p.err == nil {
			p.err = err
		}
		s.Statements = append(s.Statements, text)
	}
	p.steps = append(p.steps, s)
}

// addSQL adds a step of statements without a file.
func (p *planner) addSQL(why, table string, statements ...string) {
	p.steps = append(p.steps, Step{Why: why, Table: table, Statements: statements})
}

func (p *planner) planSchema() {
	o := p.objects
	switch {
	case !o.Schema: // together with its record, so that teardown never takes it for somebody else's
		p.add("A schema for the keys and the functions, and in it a record of what setup changes, for teardown.", "",
			[]string{"install/schema.sql", "install/installed.sql"})
		last := &p.steps[len(p.steps)-1]
		last.Statements = append(last.Statements, record("schema", "pgwitness"))
	case !o.Installed:
		p.add("A record of what setup changes, for teardown.", "", []string{"install/schema.sql", "install/installed.sql"})
	case !o.PublicUsage:
		p.addSQL("Any role may call pgwitness.event().", "", "GRANT USAGE ON SCHEMA pgwitness TO PUBLIC;")
	}
	if !o.Secret {
		p.add("A table for the keys, which only its owner and the sidecar may read.", "", []string{"install/secret.sql"})
	} else if !o.SecretGuarded {
		p.addSQL("Members of pg_read_all_data must not read the keys.", "", "ALTER TABLE pgwitness.secret ENABLE ROW LEVEL SECURITY;")
	}
	for _, reader := range o.SecretReaders {
		p.addSQL(fmt.Sprintf("%s must not have rights to the keys.", reader), "", revokeSecret(reader))
	}
	if p.keys == keysMissing {
		p.add("The keys, made by the server's own strong randomness.", "", []string{"install/keys.sql"})
	}
}

// record remembers for teardown that kind and name are ours.
func record(kind, name string) string {
	return fmt.Sprintf("INSERT INTO pgwitness.installed (kind, name) VALUES (%s, %s) ON CONFLICT DO NOTHING;", literal(kind), literal(name))
}

func revokeSecret(role string) string {
	if role != "PUBLIC" {
		role = quoted(role)
	}
	return "REVOKE ALL ON pgwitness.secret FROM " + role + ";"
}

func (p *planner) planFunctions() {
	for _, name := range p.cfg.functions() {
		p.planFunction(name)
	}
	p.planPresets()
}

func (p *planner) planFunction(name string) {
	state, err := p.functionState(name)
	if err != nil && p.err == nil {
		p.err = err
	}
	if state != "" {
		p.add(fmt.Sprintf("Function %s (%s): %s.", name, state, whyFunction(name)), "", []string{"install/" + name + ".sql"}, p.cfg.presetFill()...)
	}
}

// planSidecar lets the role of the sidecar read the keys, if it is not the one
// that installs.
func (p *planner) planSidecar() {
	if p.sidecar == p.server.Role || p.server.SidecarSuperuser {
		return
	}
	if p.objects.SidecarSecret && p.objects.SidecarInstalled {
		return
	}
	p.add(fmt.Sprintf("The role %s of the sidecar checks stamps, and so reads the keys.", p.sidecar), "",
		[]string{"install/sidecar.sql"}, "{role}", quoted(p.sidecar))
}

func (p *planner) planPublication() {
	name := quoted(p.cfg.Publication)
	options := []string{"publish = 'insert, update, delete, truncate'"}
	if p.server.major() >= 18 {
		options = append(options, "publish_generated_columns = stored")
	}
	switch pub := p.publication; {
	case pub == nil:
		p.add("The publication, without tables yet.", "", []string{"install/publication.sql"},
			"{publication}", name, "{publication_literal}", literal(p.cfg.Publication), "{options}", strings.Join(options, ", "))
	case !pub.publishesAll():
		p.addSQL("The publication leaves out kinds of changes.", "", "ALTER PUBLICATION "+name+" SET ("+options[0]+");")
	}
	if pub := p.publication; pub != nil && p.server.major() >= 18 && pub.Generated != "s" {
		p.addSQL("Stored generated columns are published too: a table with replica identity FULL refuses UPDATE otherwise.", "",
			"ALTER PUBLICATION "+name+" SET ("+options[1]+");")
	}
}

// planTable makes one step of all that a table needs, so that it is locked
// once, the strongest lock first.
func (p *planner) planTable(t *table) {
	var files, reasons []string
	need := func(file, reason string) {
		files, reasons = append(files, "table/"+file+".sql"), append(reasons, reason)
	}
	code := p.identityCode(t)
	if code != t.Identity {
		need("identity", "replica identity "+identityName(code, t.IdentityIndex))
	}
	if !t.Stamps {
		need("stamp", "stamps before INSERT, UPDATE, DELETE")
	}
	if !t.TruncationStamps {
		need("truncation_stamp", "stamps before TRUNCATE")
	}
	if t.Member && (t.RowFilter || t.ColumnList) {
		need("unpublish", "published without row filter and column list")
	}
	if t.named() && (!t.Member || t.RowFilter || t.ColumnList) {
		need("publish", "published")
	}
	if p.cfg.Baseline && t.holdsRows() && t.audited() {
		if !t.Reachable {
			need("reach", "its schema reached by the sidecar")
		}
		if !t.Readable {
			need("read", "read by the sidecar")
		}
	}
	if len(files) == 0 {
		return
	}
	p.add(fmt.Sprintf("Table %s: %s.", t.subject(), strings.Join(reasons, "; ")), t.sql(), files,
		"{table}", t.sql(), "{literal}", literal(t.sql()), "{publication}", quoted(p.cfg.Publication),
		"{identity}", identityName(code, t.IdentityIndex),
		"{schema}", quoted(t.Schema), "{schema_literal}", literal(t.Schema),
		"{role}", quoted(p.sidecar), "{role_literal}", literal(p.sidecar))
}

// planSlot comes last: the slot must be younger than the publication. It is
// recorded in a transaction of its own before, because a slot cannot be made in
// one that has written. A crash between the two leaves a record without a slot,
// which the next setup completes and teardown ignores.
func (p *planner) planSlot() {
	if p.slot != nil {
		return
	}
	if !p.recorded("slot", p.cfg.Slot) {
		p.addSQL("The slot is recorded before it exists, so that it is never forgotten.", "", record("slot", p.cfg.Slot))
	}
	arguments := literal(p.cfg.Slot) + ", " + literal(plugin)
	if p.cfg.Failover && p.server.major() >= 17 {
		arguments += ", failover => true"
	}
	p.steps = append(p.steps, Step{
		Why:        "The slot keeps the write-ahead log from here on until the sidecar has stored it. It waits for the transactions that are open now.",
		Statements: []string{"SELECT pg_create_logical_replication_slot(" + arguments + ");"},
		Alone:      true,
	})
}
