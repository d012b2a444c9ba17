package pgwitness

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgwitness/pgwitness/enrich"
	"github.com/pgwitness/pgwitness/geo"
)

// places is a geography as enrich asks it.
type places struct{ *geo.Database }

// Locate returns the place of ip.
func (p places) Locate(ip netip.Addr) enrich.Place { return enrich.Place(p.Database.Locate(ip)) }

// openPlaces reads the configured geography, once for the life of the process:
// what it answers is hashed, and the entry start names it.
func (w *Witness) openPlaces() error {
	if w.cfg.Geo.Database == "" {
		return nil
	}
	d, err := geo.Open(w.cfg.Geo.Database)
	if err != nil {
		return err
	}
	w.places = d
	w.log.Info().Str("edition", d.Name()).Str("sha256", d.Sum()).Msg("geography opened")
	return nil
}

// edition tells which geography answers, for the entry start; "" for none.
func (w *Witness) edition() string {
	if w.places == nil {
		return ""
	}
	return w.places.Name() + ", SHA-256 " + w.places.Sum()
}

// attribute adds to the configuration of enrich what is known of the stream
// only now.
func (w *Witness) attribute(cfg enrich.Config, database, dsn string) enrich.Config {
	cfg.Database = database
	if user := userOf(dsn); len(cfg.BelievedUsers) > 0 && user != "" { // what we say of ourselves is believed
		cfg.BelievedUsers = append(slices.Clone(cfg.BelievedUsers), user)
	}
	if w.places != nil {
		cfg.Places = places{w.places}
	}
	return cfg
}

// userOf is the role that dsn logs in as; "" when it cannot be read.
func userOf(dsn string) string {
	cfg, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return ""
	}
	return cfg.User
}

// writeCoverage says for how many changes it is known who made them, how, and
// who says least about himself.
func (st Status) writeCoverage(w io.Writer) {
	var parts []string
	for _, s := range st.Sources {
		parts = append(parts, fmt.Sprintf("%s %d", s.Source, s.Changes))
	}
	by := ""
	if len(parts) > 0 {
		by = " (" + strings.Join(parts, ", ") + ")"
	}
	fmt.Fprintf(w, "  attributed  %.1f %% of row changes%s\n", 100*st.Attributed, by)
	for _, o := range st.Offenders {
		who := "without a stamp"
		if o.DBUser != "" {
			who = fmt.Sprintf("by %q of %q", o.DBUser, o.Application)
		}
		fmt.Fprintf(w, "  unknown     %d changes of %q %s\n", o.Changes, o.Table, who)
	}
}
