package cdc

import "syscall"

// lowWater sets how many bytes must have come before a socket counts as
// readable. A read that is tried all the same takes what there is.
func lowWater(fd uintptr, n int) {
	_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, n) // not known to it: as before
}

// receiveBuffer sets the size of the receive buffer of a socket, about half of
// which is for what the kernel itself puts into it.
func receiveBuffer(fd uintptr, n int) {
	_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, n)
}
