package bench

import (
	"bytes"
	"os/exec"
	"strconv"
	"time"
)

// receiveBy is PostgreSQL's own client, which writes what it gets to /dev/null.
func receiveBy(program string) func(p *pipeline, c content) drained {
	return func(p *pipeline, c content) drained {
		return p.peer(program, append(receiving(p.pg.DSN(), benched), "--endpos", c.end, "--no-loop")...)
	}
}

// receiving is the arguments of that client, which gets from a slot what the
// sidecar gets.
func receiving(dsn, slot string) []string {
	return []string{"--dbname", dsn, "--slot", slot, "--start", "--file", "/dev/null", "--fsync-interval", "0",
		"--option", "proto_version=1", "--option", "publication_names=" + benched, "--option", "messages=true"}
}

// drainBy is a program that drains a slot as that of the folder loop does.
func drainBy(program string) func(p *pipeline, c content) drained {
	return func(p *pipeline, c content) drained {
		return p.peer(program, p.pg.DSN(), benched, benched, strconv.Itoa(c.changes))
	}
}

// peer runs a program until it ends by itself.
func (p *pipeline) peer(program string, args ...string) drained {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), program, args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	p.sidecar.released()
	before := p.sidecar.serverTime()
	began := time.Now()
	if err := cmd.Run(); err != nil {
		p.t.Fatalf("%s: %v\n%s", program, err, said.String())
	}
	return drained{took: time.Since(began), before: before, reader: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
}
