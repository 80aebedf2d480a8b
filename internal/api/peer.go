package api

import (
	"context"
	"fmt"
	"net"
	"os/user"
	"slices"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"allclear/internal/subsystem"
)

// Group is the system group whose members may use the socket.
const Group = "allclear"

// Caller is the process at the other end of the unix socket, as the kernel
// knew it when it connected.
type Caller struct {
	UID, GID, PID int
	Groups        []int // supplementary
	Role          subsystem.Role
	refusal       string // why it has no role
}

// Name is the login of the caller, or "uid N" when the host knows no name.
func (c Caller) Name() string { return login(c.UID) }

func login(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return "uid " + strconv.Itoa(uid)
}

// access says which role a caller has.
type access struct {
	agentUID  int
	group     int            // gid of [Group], -1 when there is no such group
	groupRole subsystem.Role // of its members
}

// judge gives the caller its role, or the reason why it has none.
func (a access) judge(c Caller) Caller {
	switch {
	case c.UID == 0 || c.UID == a.agentUID:
		c.Role = subsystem.Admin
	case a.group >= 0 && (c.GID == a.group || slices.Contains(c.Groups, a.group)):
		c.Role = a.groupRole
	case a.group < 0:
		c.refusal = fmt.Sprintf("%s (uid %d) is neither root nor the agent's user, and this host has no group %s", c.Name(), c.UID, Group)
	default:
		c.refusal = fmt.Sprintf("%s (uid %d) is not a member of group %s", c.Name(), c.UID, Group)
	}
	return c
}

type callerKey struct{}

// callerOf returns the caller of a request; ok is false at the TCP door.
func callerOf(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}

// withCaller asks the kernel who connected. It is the ConnContext of the
// socket's server.
func (a access) withCaller(ctx context.Context, conn net.Conn) context.Context {
	c, err := peer(conn)
	if err != nil {
		return context.WithValue(ctx, callerKey{}, Caller{UID: -1, refusal: "the kernel did not say who is calling: " + err.Error()})
	}
	return context.WithValue(ctx, callerKey{}, a.judge(c))
}

// peer reads SO_PEERCRED and SO_PEERGROUPS (unix(7)): both tell of the moment
// of connect(2), so a caller that ends and whose pid is used again gains
// nothing.
func peer(conn net.Conn) (Caller, error) {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return Caller{}, fmt.Errorf("connection is a %T, not of a unix socket", conn)
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return Caller{}, err
	}
	var c Caller
	var inner error
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			inner = fmt.Errorf("SO_PEERCRED: %w", err)
			return
		}
		c.UID, c.GID, c.PID = int(cred.Uid), int(cred.Gid), int(cred.Pid)
		c.Groups, inner = peerGroups(fd)
	})
	if err != nil {
		return Caller{}, err
	}
	return c, inner
}

// maxGroups is NGROUPS_MAX of linux/limits.h.
const maxGroups = 65536

// peerGroups reads the supplementary groups; x/sys has no call for them.
func peerGroups(fd uintptr) ([]int, error) {
	buf := make([]uint32, 64)
	for {
		size := uint32(len(buf) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == unix.ERANGE && len(buf) < maxGroups: // size says how many bytes it takes
			buf = make([]uint32, min(max(int(size)/4, 2*len(buf)), maxGroups))
			continue
		case errno != 0:
			return nil, fmt.Errorf("SO_PEERGROUPS: %w", errno)
		}
		groups := make([]int, size/4)
		for i := range groups {
			groups[i] = int(buf[i])
		}
		return groups, nil
	}
}

// groupID returns the gid of the system group, -1 when there is none.
func groupID(name string) int {
	g, err := user.LookupGroup(name)
	if err != nil {
		return -1
	}
	id, err := strconv.Atoi(g.Gid)
	if err != nil {
		return -1
	}
	return id
}
