package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// sinkPort is where the packet filter hands over what nothing else here serves.
const sinkPort = 7

// errNoDestination says that the kernel did not tell where a packet was going.
var errNoDestination = errors.New("no original destination")

// sinkIdle ends a connection that sends nothing for so long.
const sinkIdle = 10 * time.Minute

// Sink takes whatever reaches an address that nobody serves, and writes down what it was. It answers nothing beyond
// what TCP itself does. The packet filter hands packets over by TPROXY, so that a socket's own address is the one
// that the sender meant.
type Sink struct{ Record *Record }

// Start opens the sockets and serves until the context ends.
func (s Sink) Start(ctx context.Context, failed chan<- error) error {
	config := net.ListenConfig{Control: transparent}
	address := fmt.Sprintf("0.0.0.0:%d", sinkPort)
	listener, err := config.Listen(ctx, "tcp4", address)
	if err != nil {
		return fmt.Errorf("sink: tcp: %w", err)
	}
	packets, err := config.ListenPacket(ctx, "udp4", address)
	if err != nil {
		return fmt.Errorf("sink: udp: %w", err)
	}
	pings, err := net.ListenIP("ip4:icmp", &net.IPAddr{IP: net.IPv4zero})
	if err != nil {
		return fmt.Errorf("sink: icmp: %w", err)
	}
	datagrams, ok := packets.(*net.UDPConn)
	if !ok {
		return fmt.Errorf("sink: udp socket is a %T", packets)
	}
	context.AfterFunc(ctx, func() {
		listener.Close()
		packets.Close()
		pings.Close()
	})
	serve := func(work func() error) {
		if err := work(); err != nil && !errors.Is(err, net.ErrClosed) {
			failed <- fmt.Errorf("sink: %w", err)
		}
	}
	go serve(func() error { return s.connections(listener) })
	go serve(func() error { return s.datagrams(datagrams) })
	go serve(func() error { return s.pings(pings) })
	return nil
}

func (s Sink) connections(listener net.Listener) error {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		s.arrived("tcp", "connect", conn.LocalAddr().String(), conn.RemoteAddr().String(), 0)
		go s.drain(conn)
	}
}

// drain reads a connection to its end; each read is recorded at once, because a test may look while it is open.
func (s Sink) drain(conn net.Conn) {
	defer conn.Close()
	buffer := make([]byte, 64<<10)
	for {
		// A deadline cannot be refused on an open connection; on a closed one the read says so.
		_ = conn.SetReadDeadline(time.Now().Add(sinkIdle))
		n, err := conn.Read(buffer)
		if n > 0 {
			s.arrived("tcp", "data", conn.LocalAddr().String(), conn.RemoteAddr().String(), n)
		}
		if err != nil {
			return
		}
	}
}

func (s Sink) datagrams(packets *net.UDPConn) error {
	buffer, control := make([]byte, 64<<10), make([]byte, 256)
	for {
		n, used, _, peer, err := packets.ReadMsgUDPAddrPort(buffer, control)
		if err != nil {
			return err
		}
		destination := "unknown"
		if address, err := originalDestination(control[:used]); err == nil {
			destination = address.String()
		}
		s.arrived("udp", "datagram", destination, peer.String(), n)
	}
}

// pings records ICMP echo requests. Other ICMP is about connections that have their own lines.
func (s Sink) pings(packets *net.IPConn) error {
	buffer := make([]byte, 64<<10)
	for {
		n, _, _, peer, err := packets.ReadMsgIP(buffer, nil)
		if err != nil {
			return err
		}
		if destination, payload, ok := echoRequest(buffer[:n]); ok {
			s.arrived("icmp", "datagram", destination.String(), peer.String(), payload)
		}
	}
}

// echoRequest reads an IPv4 packet with its header: where an echo request went and how much it carried.
func echoRequest(packet []byte) (netip.Addr, int, bool) {
	const icmpHeader, request = 8, 8
	if len(packet) < 20 {
		return netip.Addr{}, 0, false
	}
	header := int(packet[0]&0x0f) * 4
	if header < 20 || len(packet) < header+icmpHeader || packet[header] != request {
		return netip.Addr{}, 0, false
	}
	return netip.AddrFrom4([4]byte(packet[16:20])), len(packet) - header - icmpHeader, true
}

func (s Sink) arrived(protocol, event, destination, peer string, bytes int) {
	s.Record.Write(Arrival{
		Time: time.Now().UTC(), Protocol: protocol, Event: event, Destination: destination, Peer: peer, Bytes: bytes,
	})
}

// transparent lets a socket take packets for addresses that are not this machine's, and tells where they went.
func transparent(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		if failed = syscall.SetsockoptInt(int(fd), syscall.SOL_IP, syscall.IP_TRANSPARENT, 1); failed != nil {
			return
		}
		failed = syscall.SetsockoptInt(int(fd), syscall.SOL_IP, syscall.IP_RECVORIGDSTADDR, 1)
	})
	return errors.Join(err, failed)
}

// originalDestination reads the address out of a packet's control messages: a sockaddr_in.
func originalDestination(control []byte) (netip.AddrPort, error) {
	messages, err := syscall.ParseSocketControlMessage(control)
	if err != nil {
		return netip.AddrPort{}, err
	}
	for _, message := range messages {
		if message.Header.Level != syscall.SOL_IP || message.Header.Type != syscall.IP_ORIGDSTADDR || len(message.Data) < 8 {
			continue
		}
		address := netip.AddrFrom4([4]byte(message.Data[4:8]))
		return netip.AddrPortFrom(address, binary.BigEndian.Uint16(message.Data[2:4])), nil
	}
	return netip.AddrPort{}, errNoDestination
}
