package geo

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/pgwitness/pgwitness/audit"
	"github.com/pgwitness/pgwitness/test/harness"
)

func TestLocate(t *testing.T) {
	d, err := Open(harness.Places(t, map[string]mmdbtype.Map{
		"203.0.113.0/24": {
			"country":  mmdbtype.Map{"iso_code": mmdbtype.String("NL")},
			"city":     mmdbtype.Map{"names": mmdbtype.Map{"en": mmdbtype.String("Utrecht"), "de": mmdbtype.String("Utrecht (Stadt)")}},
			"location": mmdbtype.Map{"latitude": mmdbtype.Float64(52.0907), "longitude": mmdbtype.Float64(-0.1)},
		},
		"198.51.100.0/24": {"country": mmdbtype.Map{"iso_code": mmdbtype.String("IS")}},
		"2001:db8::/32":   {"country": mmdbtype.Map{"iso_code": mmdbtype.String("JP")}, "location": mmdbtype.Map{"latitude": mmdbtype.Float64(0), "longitude": mmdbtype.Float64(0)}},
		"192.0.2.0/24":    {"country": mmdbtype.String("of another shape")},
	}))
	if err != nil {
		t.Fatal(err)
	}
	for ip, want := range map[string]Place{
		"203.0.113.7":  {"NL", "Utrecht", "52.0907", "-0.1"},
		"198.51.100.1": {Country: "IS"},
		"2001:db8::1":  {Country: "JP", Latitude: "0", Longitude: "0"},
		"192.0.2.1":    {},
		"8.8.8.8":      {},
	} {
		if got := d.Locate(netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s lies in %+v, want %+v", ip, got, want)
		}
	}
	if d.Name() != "Test-City 2026-09-21" || len(d.Sum()) != 64 {
		t.Errorf("edition %q, sum %q", d.Name(), d.Sum())
	}
}

// A file that is replaced changes no answer of the one that is open.
func TestReplacedFileChangesNothing(t *testing.T) {
	file := harness.Places(t, map[string]mmdbtype.Map{"203.0.113.0/24": {"country": mmdbtype.Map{"iso_code": mmdbtype.String("NL")}}})
	d, err := Open(file)
	if err == nil {
		err = os.WriteFile(file, []byte("gone"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Locate(netip.MustParseAddr("203.0.113.1")); got.Country != "NL" {
		t.Errorf("lies in %+v", got)
	}
	_, err = Open(file)
	if err == nil || !strings.Contains(audit.Hint(err), "MaxMind") {
		t.Errorf("no database, and the error is %v", err)
	}
	if _, err := Open(file + ".none"); err == nil || audit.Hint(err) == "" {
		t.Errorf("no file, and the error is %v", err)
	}
}
