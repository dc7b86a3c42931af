package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// Site is one server of the internet.
type Site struct {
	Name    string
	Handler http.Handler
	Record  *Record
}

// contact is what became of one connection.
type contact struct{ requests atomic.Int64 }

type contactKey struct{}

// Server is the HTTP server of a site: every request is recorded when it ends, and so is every connection that ends
// without one, because even that much may tell of a leak.
func (s Site) Server(certificate *tls.Certificate) *http.Server {
	server := &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: 30 * time.Second,
		ErrorLog:          log.New(os.Stderr, "internet: "+s.Name+": ", 0),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, contactKey{}, contactOf(conn))
		},
		ConnState: func(conn net.Conn, state http.ConnState) {
			if state == http.StateClosed && contactOf(conn).requests.Load() == 0 {
				s.Record.Write(Request{
					Time: time.Now().UTC(), Server: s.Name, Host: conn.LocalAddr().String(), Method: "CONNECTION", Peer: conn.RemoteAddr().String(),
				})
			}
		},
	}
	if certificate != nil {
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS12}
	}
	return server
}

// serve passes a request on and records it.
func (s Site) serve(w http.ResponseWriter, r *http.Request) {
	if known, ok := r.Context().Value(contactKey{}).(*contact); ok {
		known.requests.Add(1)
	}
	body := &countingBody{ReadCloser: r.Body}
	r.Body = body
	answer := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	// Also when the handler gives up by a panic, which is how a proxy's broken connection ends.
	defer func() {
		s.Record.Write(Request{
			Time: time.Now().UTC(), Server: s.Name, Host: r.Host, Method: r.Method, Path: r.URL.RequestURI(),
			Peer: r.RemoteAddr, Bytes: body.count.Load(), Status: answer.status,
		})
	}()
	s.Handler.ServeHTTP(answer, r)
	// What the handler did not read was sent all the same; the server itself would throw it away uncounted.
	_, _ = io.CopyN(io.Discard, body, 1<<20)
}

// countingBody counts what was read of a request.
type countingBody struct {
	io.ReadCloser
	count atomic.Int64
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.count.Add(int64(n))
	return n, err
}

// statusWriter remembers an answer's status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the real writer.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// contactConn carries a connection's contact from the listener to the hooks of the HTTP server, which know a
// connection only by its net.Conn.
type contactConn struct {
	net.Conn
	contact contact
}

// contactListener gives every connection its contact.
type contactListener struct{ net.Listener }

func (l contactListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &contactConn{Conn: conn}, nil
}

// contactOf finds the contact of a connection, under TLS or not.
func contactOf(conn net.Conn) *contact {
	if wrapped, ok := conn.(*tls.Conn); ok {
		conn = wrapped.NetConn()
	}
	if known, ok := conn.(*contactConn); ok {
		return &known.contact
	}
	return &contact{}
}

// run serves on a listener until the server is closed.
func run(server *http.Server, listener net.Listener) error {
	listener = contactListener{listener}
	var err error
	if server.TLSConfig != nil {
		err = server.ServeTLS(listener, "", "")
	} else {
		err = server.Serve(listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
