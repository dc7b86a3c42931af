package forward

import (
	"io"
	"net"
	"os"
	"testing"
	"time"
)

func TestForwardedConnectionEndsOneSideAtATime(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("entering a network namespace, even one's own, needs root")
	}
	target := listen(t)
	// The server answers only after the client has said that it has no more to say.
	go func() {
		connection, err := target.Accept()
		if err != nil {
			return
		}
		defer connection.Close()
		said, err := io.ReadAll(connection)
		if err == nil {
			connection.Write(append([]byte("heard: "), said...))
		}
	}()
	front := listen(t)
	go serve(front, "/proc/self/ns/net", target.Addr().String())

	client, err := net.Dial("tcp", front.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write([]byte("a question")); err != nil {
		t.Fatal(err)
	}
	if err := client.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(client)
	if err != nil || string(answer) != "heard: a question" {
		t.Errorf("answer %q, %v", answer, err)
	}
}

func TestForwardedConnectionEndsWhenNobodyListens(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("entering a network namespace, even one's own, needs root")
	}
	gone := listen(t)
	address := gone.Addr().String()
	gone.Close()
	front := listen(t)
	go serve(front, "/proc/self/ns/net", address)
	client, err := net.Dial("tcp", front.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := client.Read(make([]byte, 1)); n != 0 || err == nil || os.IsTimeout(err) {
		t.Errorf("read %d bytes, %v; want the connection to end", n, err)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}
