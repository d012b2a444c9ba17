package pgwitness

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pgwitness/pgwitness/baseline"
	"github.com/pgwitness/pgwitness/cdc"
	"github.com/pgwitness/pgwitness/enrich"
	"github.com/pgwitness/pgwitness/geo"
	"github.com/pgwitness/pgwitness/setup"
	"github.com/pgwitness/pgwitness/sink"
	"github.com/pgwitness/pgwitness/spool"
	"github.com/pgwitness/pgwitness/store"
	"github.com/pgwitness/pgwitness/vault"
)

// Config is the configuration file, configs/pgwitness.yaml. Every key has a
// default but the name and the tables of a stream. A value ${NAME} is taken
// from the environment, ${file:/path} from a file.
type Config struct {
	// StateDir holds what the sidecar must keep beside the databases: its
	// signing key, and the data of embedded engines. Default: .pgwitness.
	StateDir string `yaml:"state_dir"`
	// Engines is the folder of the embedded engines. Default: the folder
	// engines next to the executable or in the working directory.
	Engines string `yaml:"engines"`
	// Log says what is logged.
	Log LogConfig `yaml:"log"`
	// HTTP is the port of metrics and health.
	HTTP HTTPConfig `yaml:"http"`
	// ClickHouse holds the trail.
	ClickHouse store.Config `yaml:"clickhouse"`
	// Sink says how patient the sidecar is with ClickHouse.
	Sink sink.Config `yaml:"sink"`
	// Spool says what happens while ClickHouse is away for long.
	Spool spool.Config `yaml:"spool"`
	// Batch says how entries are gathered before they are stored.
	Batch BatchConfig `yaml:"batch"`
	// Vault holds what opens the tokens of personal values.
	Vault vault.Config `yaml:"vault"`
	// Geo says where the database of places lies.
	Geo geo.Config `yaml:"geo"`
	// Streams are the audited databases: one slot and one chain each.
	Streams []StreamConfig `yaml:"streams"`

	source *source // where the values stand; nil when they come from no file
}

// LogConfig says what is logged, and how.
type LogConfig struct {
	// Level is debug, info, warn or error. Default: info.
	Level string `yaml:"level"`
	// Format is json or console. Default: json.
	Format string `yaml:"format"`
}

// HTTPConfig is the port of metrics and health.
type HTTPConfig struct {
	// Listen is the address of /metrics, /healthz and /readyz; "off" opens
	// none. Default: 127.0.0.1:9187.
	Listen string `yaml:"listen"`
}

// BatchConfig says when entries are stored, and bounds how many at a time.
type BatchConfig struct {
	// Window is the time from one insert to the next, unless a bound is met
	// before. What comes after a pause of that length is stored at once. While
	// an insert takes longer, the next batch grows up to the bounds. Default: 500ms.
	Window time.Duration `yaml:"window"`
	// Rows is the number of entries. Default: 40000.
	Rows int `yaml:"rows"`
	// Bytes is their size, uncompressed. Default: 16777216 (16 MiB).
	Bytes int `yaml:"bytes"`
}

// StreamConfig is one audited database.
type StreamConfig struct {
	// Name of the stream: lower-case letters, digits and _. It is hashed into
	// every entry and cannot be changed later.
	Name string `yaml:"name"`
	// Postgres is the audited database.
	Postgres PostgresConfig `yaml:"postgres"`
	// Tables that are audited, by name or pattern.
	Tables []TableConfig `yaml:"tables"`
	// Exclude takes tables out again that a pattern of Tables caught.
	Exclude []string `yaml:"exclude"`
	// Guards refuse statements that do not say what is required, see
	// docs/guards.md. Default: none.
	Guards []setup.Guard `yaml:"guards"`
	// HeartbeatInterval is how often an entry heartbeat proves that there was
	// somebody to see changes. 0s: never. Default: 1m.
	HeartbeatInterval *time.Duration `yaml:"heartbeat_interval"`
	// Baseline says how the rows are read that are older than the stream.
	Baseline baseline.Config `yaml:"baseline"`
	// DDL is full (what was created, altered, granted or dropped, with the text
	// of the statement), names (without the text) or off (no event triggers, and
	// new tables are not followed until the next setup). Default: full.
	DDL string `yaml:"ddl"`
	// WatchInterval is how often the publication and the catalog are compared
	// with what was recorded. Default: 1m.
	WatchInterval time.Duration `yaml:"watch_interval"`
	// Directory is the application's own table of users. Default: none.
	Directory setup.Directory `yaml:"directory"`
	// Config holds the actor rules, action rules and vocabulary.
	enrich.Config `yaml:",inline"`
}

// PostgresConfig is how the audited database is reached.
type PostgresConfig struct {
	// Config holds the DSN, the slot (default: pgwitness_<stream>), the
	// publication (likewise) and the patience of the reader.
	cdc.Config `yaml:",inline"`
	// AdminDSN of the role that installs and removes triggers, for setup and
	// teardown only. Default: the DSN.
	AdminDSN string `yaml:"admin_dsn"`
	// VerifyDSN of the role that reads the audited tables, for verify
	// --reconcile only: it needs SELECT on them, and no row security may hide
	// rows from it. Default: the admin DSN.
	VerifyDSN string `yaml:"verify_dsn" json:"-"`
	// Failover makes setup create a slot that PostgreSQL 17 and later copy to
	// standbys, so that capture goes on behind a failover. Default: false.
	Failover bool `yaml:"failover"`
}

// TableConfig is one audited table, or several by pattern.
type TableConfig struct {
	// Name, with schema: public.orders, or a pattern: public.*.
	Name string `yaml:"name"`
	// Resource is the resource_type of its rows. Default: the table's name.
	Resource string `yaml:"resource"`
	// Key lists the columns of resource_id. Default: the primary key.
	Key []string `yaml:"key"`
	// Secret lists columns whose values never enter the trail, such as the hashes
	// of passwords and keys: it says ["secret"] in their place. Default: none.
	Secret []string `yaml:"secret"`
	// Subject is whose the personal columns are, as in customer:{customer_id},
	// where a column of the row stands in braces; it is the name by which a
	// person's data is erased. Default: the row's own, <resource>:<key>.
	Subject string `yaml:"subject"`
	// Personal are the columns with personal values, for which tokens stand in
	// the trail, see docs/personal-values.md. Default: none.
	Personal map[string]enrich.PersonalColumn `yaml:"personal"`
	// ActorColumn is the column that says who wrote the row, such as updated_by;
	// it counts where nothing more trusted does, and only for changes that wrote
	// it. Default: none.
	ActorColumn string `yaml:"actor_column"`
	// ReasonColumn likewise says why. Default: none.
	ReasonColumn string `yaml:"reason_column"`
	// Activity makes it a table into which the application writes, in the
	// transaction of each change, who made it, such as directus_activity; it
	// counts where nothing more trusted does. Default: none.
	Activity enrich.Activity `yaml:"activity"`
	// ReplicaIdentity that setup gives the table: full, default or keep.
	// Default: full, so that entries have old values.
	ReplicaIdentity string `yaml:"replica_identity"`
}

// DefaultConfig is what an empty configuration file means.
func DefaultConfig() Config {
	return Config{
		StateDir:   ".pgwitness",
		Log:        LogConfig{Level: "info", Format: "json"},
		HTTP:       HTTPConfig{Listen: "127.0.0.1:9187"},
		ClickHouse: store.DefaultConfig(),
		Sink:       sink.DefaultConfig(),
		Spool:      spool.DefaultConfig(),
		Vault:      vault.DefaultConfig(),
		Batch:      BatchConfig{Window: 500 * time.Millisecond, Rows: 40000, Bytes: 16 << 20},
	}
}

// fillStreams gives each stream the defaults that depend on its name.
func (c *Config) fillStreams() {
	for i := range c.Streams {
		s := &c.Streams[i]
		s.Postgres.fillDefaults()
		if s.Postgres.Slot == "" {
			s.Postgres.Slot = "pgwitness_" + s.Name
		}
		if s.Postgres.Publication == "" {
			s.Postgres.Publication = "pgwitness_" + s.Name
		}
		if s.HeartbeatInterval == nil {
			minute := time.Minute
			s.HeartbeatInterval = &minute
		}
		s.DDL = cmp.Or(s.DDL, setup.DDLFull)
		s.Baseline.FillDefaults()
		s.WatchInterval = cmp.Or(s.WatchInterval, time.Minute)
		s.Personal.Subject = cmp.Or(s.Personal.Subject, enrich.DefaultActorSubject)
		if s.BulkThreshold == 0 {
			s.BulkThreshold = enrich.DefaultBulkThreshold
		}
		for j := range s.Tables {
			if s.Tables[j].ReplicaIdentity == "" {
				s.Tables[j].ReplicaIdentity = "full"
			}
		}
	}
}

// fillDefaults gives every key that was left out the value of cdc.DefaultConfig.
func (p *PostgresConfig) fillDefaults() {
	d := cdc.DefaultConfig()
	p.StatusInterval = cmp.Or(p.StatusInterval, d.StatusInterval)
	p.IdleInterval = cmp.Or(p.IdleInterval, d.IdleInterval)
	p.SilenceTimeout = cmp.Or(p.SilenceTimeout, d.SilenceTimeout)
	p.ConnectTimeout = cmp.Or(p.ConnectTimeout, d.ConnectTimeout)
	p.CatalogTimeout = cmp.Or(p.CatalogTimeout, d.CatalogTimeout)
	p.Backlog = cmp.Or(p.Backlog, d.Backlog)
	p.BacklogWindow = cmp.Or(p.BacklogWindow, d.BacklogWindow)
	p.FeedBytes = cmp.Or(p.FeedBytes, d.FeedBytes)
	p.FeedChanges = cmp.Or(p.FeedChanges, d.FeedChanges)
}

var (
	streamName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,40}$`)
	tableName  = regexp.MustCompile(`^[^.]+\.[^.]+$`)
)

// Validate returns all problems at once, each as "key.path: message".
func (c Config) Validate() error {
	var problems []error
	bad := func(path, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...)))
	}
	if c.StateDir == "" {
		bad("state_dir", "must name a folder")
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		bad("log.level", "%q is none of debug, info, warn, error", c.Log.Level)
	}
	if c.Log.Format != "json" && c.Log.Format != "console" {
		bad("log.format", "%q is neither json nor console", c.Log.Format)
	}
	if c.Batch.Window <= 0 || c.Batch.Window > time.Minute {
		bad("batch.window", "%s is not between 1ms and 1m", c.Batch.Window)
	}
	if c.Batch.Rows < 1 || c.Batch.Rows > 1_000_000 {
		bad("batch.rows", "%d is not between 1 and 1000000", c.Batch.Rows)
	}
	if c.Batch.Bytes < 1<<16 {
		bad("batch.bytes", "%d is below 65536", c.Batch.Bytes)
	}
	problems = append(problems, unjoin(c.ClickHouse.Validate())...)
	problems = append(problems, unjoin(c.Sink.Validate())...)
	problems = append(problems, unjoin(c.Spool.Validate())...)
	problems = append(problems, unjoin(c.Vault.Validate())...)
	if len(c.Streams) == 0 {
		bad("streams", "names no database to audit")
	}
	seen := make(map[string]bool)
	for i, s := range c.Streams {
		at := fmt.Sprintf("streams[%d]", i)
		if seen[s.Name] {
			bad(at+".name", "%q is taken by another stream", s.Name)
		}
		seen[s.Name] = true
		s.validate(at, bad)
	}
	return errors.Join(problems...)
}

func (s StreamConfig) validate(at string, bad func(path, format string, args ...any)) {
	if !streamName.MatchString(s.Name) {
		bad(at+".name", "%q is not a name of lower-case letters, digits and _ that begins with a letter", s.Name)
	}
	if len(s.Tables) == 0 {
		bad(at+".tables", "names no table")
	}
	if s.HeartbeatInterval != nil && *s.HeartbeatInterval != 0 && *s.HeartbeatInterval < 100*time.Millisecond {
		bad(at+".heartbeat_interval", "%s is neither 0s nor at least 100ms", *s.HeartbeatInterval)
	}
	if !slices.Contains([]string{setup.DDLFull, setup.DDLNames, setup.DDLOff}, s.DDL) {
		bad(at+".ddl", "%q is none of full, names, off", s.DDL)
	}
	if s.WatchInterval < 100*time.Millisecond {
		bad(at+".watch_interval", "%s is not at least 100ms", s.WatchInterval)
	}
	for j, t := range s.Tables {
		path := fmt.Sprintf("%s.tables[%d]", at, j)
		if !tableName.MatchString(t.Name) {
			bad(path+".name", "%q is not schema.table or a pattern such as public.*", t.Name)
		}
		if !slices.Contains([]string{"full", "default", "keep"}, t.ReplicaIdentity) {
			bad(path+".replica_identity", "%q is none of full, default, keep", t.ReplicaIdentity)
		}
		if t.Activity.Actor == "" && t.Activity != (enrich.Activity{}) {
			bad(path+".activity.actor", "is missing, and the other columns are about nobody without it")
		}
		if strings.ContainsAny(t.Name, "*?") && (t.Resource != "" || len(t.Key) > 0 || len(t.Secret) > 0 || len(t.Personal) > 0 || t.ActorColumn != "" || t.ReasonColumn != "" || t.Activity != (enrich.Activity{})) {
			bad(path, "a pattern can have none of resource, key, secret, personal, actor_column, reason_column, activity: list the table by name as well")
		}
	}
	rooms := slices.Concat(unjoin(s.Postgres.Validate()), unjoin(s.Config.Validate()), unjoin(setup.ValidateGuards(s.Guards)), unjoin(s.Directory.Validate()), s.validateSecrets(), s.validatePersonal(),
		unjoin(s.Baseline.Validate()))
	for _, problem := range rooms {
		key, message, _ := strings.Cut(problem.Error(), ": ")
		bad(at+"."+key, "%s", message)
	}
}

// unjoin takes the errors of errors.Join apart.
func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}
