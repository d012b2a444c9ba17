// Package geo tells where IP addresses lie, by a database in the MaxMind format
// (MMDB) that the operator supplies: GeoLite2 or GeoIP2 City or Country, DB-IP,
// IPinfo and others have it.
//
// The answers are hashed into the trail, so the whole file is read once, at
// Open: whoever replaces it while the sidecar runs changes nothing until the
// next start, which names the edition in its entry. The package never asks the
// network, and never guesses: an address that the database does not know has no
// place.
package geo

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/pgwitness/pgwitness/audit"
)

// Config says where the database lies.
type Config struct {
	// Database is the file in MaxMind's format. Default: none, and no places.
	Database string `yaml:"database"`
}

// Place is where an address lies; what is not known is empty.
type Place struct {
	Country             string // ISO 3166-1 alpha-2 code
	City                string // English name
	Latitude, Longitude string // decimal degrees, the shortest text that says them
}

// Database is an open database. It never changes, and may be used by several
// goroutines.
type Database struct {
	reader *maxminddb.Reader
	sum    [sha256.Size]byte
}

// Open reads the file.
func Open(file string) (*Database, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, audit.WithHint(fmt.Errorf("open geography: %w", err), "correct geo.database, or leave it empty")
	}
	reader, err := maxminddb.OpenBytes(content)
	if err != nil {
		return nil, audit.WithHint(fmt.Errorf("open geography %s: %w", file, err), "the file must be in the MaxMind format (.mmdb)")
	}
	return &Database{reader: reader, sum: sha256.Sum256(content)}, nil
}

// Name is the edition: what the database calls itself, and the day it was built.
func (d *Database) Name() string {
	m := d.reader.Metadata
	return m.DatabaseType + " " + m.BuildTime().UTC().Format(time.DateOnly)
}

// Sum is the SHA-256 of the file, in hexadecimal.
func (d *Database) Sum() string { return hex.EncodeToString(d.sum[:]) }

// record is what the City and Country editions have in common.
type record struct {
	Country struct {
		ISOCode string `maxminddb:"iso_code"`
	} `maxminddb:"country"`
	City struct {
		Names struct {
			English string `maxminddb:"en"`
		} `maxminddb:"names"`
	} `maxminddb:"city"`
	Location struct {
		Latitude  *float64 `maxminddb:"latitude"`
		Longitude *float64 `maxminddb:"longitude"`
	} `maxminddb:"location"`
}

// Locate returns the place of ip; the zero Place when the database does not
// know it, or has something else to say.
func (d *Database) Locate(ip netip.Addr) Place {
	var r record
	if err := d.reader.Lookup(ip).Decode(&r); err != nil {
		return Place{}
	}
	return Place{
		Country: r.Country.ISOCode, City: r.City.Names.English,
		Latitude: degrees(r.Location.Latitude), Longitude: degrees(r.Location.Longitude),
	}
}

func degrees(f *float64) string {
	if f == nil {
		return ""
	}
	return strconv.FormatFloat(*f, 'f', -1, 64)
}
