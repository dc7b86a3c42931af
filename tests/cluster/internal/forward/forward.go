// Package forward carries connections from one loopback port of the machine to the API server inside the node's
// network namespace. It is the only way across, and it carries nothing in the other direction.
package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"syscall"
	"time"

	"cofferdam.dev/tests/cluster/internal/process"
)

// Run listens on the address where it is called and connects to the target from inside the namespace, until
// listening fails.
func Run(listen, namespace, target string) error {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	log.Printf("forwarding %s to %s in %s", listen, target, namespace)
	return serve(listener, namespace, target)
}

func serve(listener net.Listener, namespace, target string) error {
	for {
		outer, err := listener.Accept()
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		go func() {
			if err := carry(outer.(*net.TCPConn), namespace, target); err != nil {
				log.Print(err)
			}
		}()
	}
}

// carry connects the two and copies both ways until both have ended. The inner connection belongs to the namespace
// in which its socket was made; after that any thread may use it.
func carry(outer *net.TCPConn, namespace, target string) error {
	defer outer.Close()
	var inner *net.TCPConn
	err := process.InNetwork(namespace, func() error {
		dialer := net.Dialer{Timeout: 5 * time.Second}
		connection, err := dialer.DialContext(context.Background(), "tcp4", target)
		if err == nil {
			inner = connection.(*net.TCPConn)
		}
		return err
	})
	if err != nil {
		return err
	}
	defer inner.Close()
	done := make(chan error, 1)
	go func() { done <- copyHalf(inner, outer) }()
	back := copyHalf(outer, inner)
	return errors.Join(back, <-done)
}

// copyHalf passes the end of one direction on, so that the other may still go on.
func copyHalf(to, from *net.TCPConn) error {
	_, err := io.Copy(to, from)
	// The other side may have gone altogether by now; then there is nobody left to tell.
	if closed := to.CloseWrite(); err == nil && !errors.Is(closed, net.ErrClosed) && !errors.Is(closed, syscall.ENOTCONN) {
		err = closed
	}
	return err
}
