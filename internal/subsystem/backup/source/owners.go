package source

import (
	"os/user"
	"strconv"
)

// maxOwners bounds the names that one walk remembers; when there are more it forgets them all and starts again.
const maxOwners = 1 << 16

// owners knows the names of users and groups. One walk uses one, so that a renamed user is seen by the next.
type owners struct {
	users, groups map[uint32]string
}

func newOwners() *owners {
	return &owners{users: map[uint32]string{}, groups: map[uint32]string{}}
}

func (o *owners) user(uid uint32) string {
	return remember(o.users, uid, func(id string) (string, error) {
		u, err := user.LookupId(id)
		if err != nil {
			return "", err
		}
		return u.Username, nil
	})
}

func (o *owners) group(gid uint32) string {
	return remember(o.groups, gid, func(id string) (string, error) {
		g, err := user.LookupGroupId(id)
		if err != nil {
			return "", err
		}
		return g.Name, nil
	})
}

// remember looks a number up once. A number without a name is remembered as "".
func remember(known map[uint32]string, id uint32, look func(string) (string, error)) string {
	name, ok := known[id]
	if ok {
		return name
	}
	name, err := look(strconv.FormatUint(uint64(id), 10))
	if err != nil {
		name = ""
	}
	if len(known) >= maxOwners {
		clear(known)
	}
	known[id] = name
	return name
}
