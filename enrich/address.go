package enrich

import (
	"net/netip"
	"strings"
)

// fromApplication is the source of an address that PgBouncer wrote behind the
// application name (application_name_add_host).
const fromApplication = "application_name"

// parseAddress reads the first IP address of text: a plain one, one with a port
// or a zone, or a list as X-Forwarded-For and Forwarded have it, where the
// client stands first. It returns it in its one canonical form (RFC 5952, IPv4
// in IPv6 unmapped). more tells that text held further parts.
func parseAddress(text string) (ip netip.Addr, more, ok bool) {
	parts := strings.Split(text, ",")
	for _, part := range parts {
		if ip, ok = oneAddress(part); ok {
			return ip, len(parts) > 1, true
		}
	}
	return ip, len(parts) > 1, false
}

// oneAddress reads 192.0.2.1, 192.0.2.1:80, [2001:db8::1]:80, [2001:db8::1],
// 2001:db8::1%eth0 or for="[2001:db8::1]:80";proto=https.
func oneAddress(s string) (netip.Addr, bool) {
	for member := range strings.SplitSeq(s, ";") {
		member = strings.TrimSpace(member)
		if name, value, found := strings.Cut(member, "="); found {
			if !strings.EqualFold(strings.TrimSpace(name), "for") {
				continue
			}
			member = value
		}
		member = strings.Trim(strings.TrimSpace(member), `"`)
		if both, err := netip.ParseAddrPort(member); err == nil {
			return canonical(both.Addr()), true
		}
		if inner, found := strings.CutPrefix(member, "["); found {
			member = strings.TrimSuffix(inner, "]")
		}
		if ip, err := netip.ParseAddr(member); err == nil {
			return canonical(ip), true
		}
	}
	return netip.Addr{}, false
}

// canonical drops the zone, which names an interface of some other machine.
func canonical(ip netip.Addr) netip.Addr { return ip.Unmap().WithZone("") }

// pooledApplication splits what PgBouncer makes of an application name when it
// is told to add the host, "app - 192.0.2.1:5432", into its parts. Without such
// a suffix the name is returned as it is.
func pooledApplication(name string) (application string, client netip.Addr, ok bool) {
	i := strings.LastIndex(name, " - ")
	if i < 0 {
		return name, client, false
	}
	host := name[i+3:]
	both, err := netip.ParseAddrPort(host)
	if err == nil {
		return name[:i], canonical(both.Addr()), true
	}
	// PgBouncer writes an IPv6 address without brackets: 2001:db8::1:5432.
	last := strings.LastIndexByte(host, ':')
	if last < 0 || strings.Count(host, ":") < 3 {
		return name, client, false
	}
	if client, err = netip.ParseAddr(host[:last]); err != nil {
		return name, client, false
	}
	return name[:i], canonical(client), true
}

// takeAddress takes the address of the client: as a pooler tells it, else as
// PostgreSQL sees it.
func (a *attribution) takeAddress(p *payload) {
	if _, client, ok := pooledApplication(p.Application); ok {
		a.take(ipAddress, client.String(), fromApplication)
	}
	a.take(ipAddress, p.Host, fromObserved)
}

// normaliseAddress writes an IP address in its one canonical form, and looks up
// where it lies. What is no address is kept as it is, and flagged; of a list the
// whole is kept beside.
func (a *attribution) normaliseAddress(places Locator) {
	f := &a.fields[ipAddress]
	if f.source == "" {
		return
	}
	ip, more, ok := parseAddress(f.value)
	if !ok {
		a.flag("invalid_ip_address", f.value)
		return
	}
	if more {
		a.flag("forwarded", f.value)
	}
	f.value = ip.String()
	if places == nil {
		return
	}
	a.place = places.Locate(ip)
	if a.place != (Place{}) {
		a.flag("geo", places.Name())
	}
}

// Place is where an address lies, as far as it is known; empty members are not.
type Place struct {
	Country             string // ISO 3166-1 alpha-2 code
	City                string // English name
	Latitude, Longitude string // decimal degrees, as they are hashed
}

// Locator knows where addresses lie. Its answers must be the same for as long
// as it lives, because they are hashed.
type Locator interface {
	// Locate returns the place of ip; the zero Place when it is not known.
	Locate(ip netip.Addr) Place
	// Name tells which edition answers.
	Name() string
}
