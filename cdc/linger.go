package cdc

import (
	"net"
	"syscall"
	"time"
)

const (
	// lingerTime is how long a read waits for company. It is what streaming adds
	// to the age of a change at most, and very little beside the window of a batch.
	lingerTime = time.Millisecond
	// lingerBytes is what a read brings that need not wait: so much comes with
	// one call that the call costs nothing.
	lingerBytes = 24 << 10
	// nearBuffer is the size in bytes of the receive buffer of a stream that comes
	// from this machine. When it is full, the kernel of the server puts messages
	// that wait together, which costs half of sending each by itself. From another
	// machine the buffer has to hold what is under way, and is left as it is.
	nearBuffer = 32 << 10
)

// lingerer keeps a stream from being read message by message. The walsender
// sends each with a system call of its own, and when we wait for it the kernel
// wakes us for each: both sides would spend most of their time on that. So after
// a read that brought little the next one waits for a moment, and asks the kernel
// not to wake anybody for less than is worth it.
//
// When nothing has come meanwhile, the next read blocks, and takes what comes at
// once; a transaction that comes alone is delayed only if it comes in pieces.
type lingerer struct {
	raw syscall.RawConn // nil: there is no telling the kernel
}

// newLingerer unwraps conn, which may be TLS over a socket.
func newLingerer(conn net.Conn) lingerer {
	if over, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = over.NetConn()
	}
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return lingerer{}
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return lingerer{} // it is closed, which the next read will tell
	}
	if addr, ok := conn.RemoteAddr().(*net.TCPAddr); ok && addr.IP.IsLoopback() {
		_ = raw.Control(func(fd uintptr) { receiveBuffer(fd, nearBuffer) }) // a larger one only costs more
	}
	return lingerer{raw}
}

// linger waits, if brought, what the last read brought, was something and
// little.
func (l lingerer) linger(brought int) {
	if brought == 0 || brought >= lingerBytes {
		return
	}
	l.wakeFor(lingerBytes)
	time.Sleep(lingerTime)
	l.wakeFor(1)
}

// wakeFor asks the kernel to call the socket readable from n bytes on. Where it
// does not, we are only woken more often: the error is of no interest.
func (l lingerer) wakeFor(n int) {
	if l.raw != nil {
		_ = l.raw.Control(func(fd uintptr) { lowWater(fd, n) })
	}
}
