package sshpolicy

import (
	"crypto"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"runtime/debug"
	"unsafe"

	"golang.org/x/crypto/ssh"
)

// x/crypto/ssh implements diffie-hellman-group16-sha512 but not group18, which
// the seed's policy allows (seed 000, RFC 8268). Both are the same code over
// another prime, so this file adds an entry to the library's table.
//
// The table may be written only while the program starts: later it is read
// without a lock. That is why this file holds the project's only init. It runs
// after the library's own and takes about a millisecond: the layout is checked
// by reflection before a byte is written, then one handshake in memory, with
// short exponents, proves that both sides agree. If anything is not as
// expected, group18 is off and policies that name it are refused with the
// reason; nothing else changes.

const kexGroup18 = "diffie-hellman-group18-sha512"

// kexAlgorithm stands in for the library's interface of the same name. Only
// its being a non-empty interface matters: that fixes the memory layout. The
// methods are never called through it.
type kexAlgorithm interface {
	Client()
	Server()
}

//go:linkname kexAlgoMap golang.org/x/crypto/ssh.kexAlgoMap
var kexAlgoMap map[string]kexAlgorithm

// errGroup18 says why group18 is off; nil when it is on. Written by init only.
var errGroup18 error

func init() {
	errGroup18 = addGroup18()
}

// group18Error is a fact about this build: nil, or why it cannot do group18.
func group18Error() error {
	if errGroup18 == nil {
		return nil
	}
	return fmt.Errorf("this build (%s) cannot do %s: %w", sshLibrary(), kexGroup18, errGroup18)
}

// sshLibrary names the library version this program was built with.
func sshLibrary() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "golang.org/x/crypto" {
				return m.Path + " " + m.Version
			}
		}
	}
	return "golang.org/x/crypto of unknown version"
}

func addGroup18() error {
	if _, present := kexAlgoMap[kexGroup18]; present {
		return nil // the library learned it
	}
	group16, ok := kexAlgoMap[ssh.KeyExchangeDH16SHA512]
	if !ok {
		return errors.New("the library has no group16 to start from (FIPS 140 mode leaves finite-field groups out)")
	}
	group18, err := cloneGroup(group16, primeGroup16(), primeGroup18())
	if err != nil {
		return err
	}
	kexAlgoMap[kexGroup18] = group18
	if err := handshakeInMemory(kexGroup18); err != nil {
		delete(kexAlgoMap, kexGroup18)
		return fmt.Errorf("handshake in memory: %w", err)
	}
	return nil
}

// cloneGroup returns old with the prime replaced. It writes nothing unless old
// is a pointer to a structure with exactly the four fields that it knows, and
// those hold the group that they should.
func cloneGroup(old kexAlgorithm, oldPrime, newPrime *big.Int) (kexAlgorithm, error) {
	from := reflect.ValueOf(any(old))
	if from.Kind() != reflect.Pointer || from.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("group16 is a %s, not a pointer to a structure", from.Type())
	}
	fresh := reflect.New(from.Type().Elem())
	want := []struct {
		name     string
		is, sets any
	}{
		{"g", big.NewInt(2), big.NewInt(2)},
		{"p", oldPrime, newPrime},
		{"pMinus1", minusOne(oldPrime), minusOne(newPrime)},
		{"hashFunc", crypto.SHA512, crypto.SHA512},
	}
	if n := from.Elem().NumField(); n != len(want) {
		return nil, fmt.Errorf("%s has %d fields, want %d", from.Elem().Type(), n, len(want))
	}
	for i, w := range want {
		f := from.Elem().Type().Field(i)
		if f.Name != w.name || f.Type != reflect.TypeOf(w.is) {
			return nil, fmt.Errorf("%s: field %d is %s %s, want %s %T", from.Elem().Type(), i, f.Name, f.Type, w.name, w.is)
		}
		if !sameValue(exported(from.Elem().Field(i)).Interface(), w.is) {
			return nil, fmt.Errorf("%s.%s does not hold group16", from.Elem().Type(), f.Name)
		}
		exported(fresh.Elem().Field(i)).Set(reflect.ValueOf(w.sets))
	}
	// An interface value is two words: method table and data. The clone keeps
	// the library's method table and points to the new structure.
	group := old
	(*[2]unsafe.Pointer)(unsafe.Pointer(&group))[1] = fresh.UnsafePointer()
	return group, nil
}

// exported gives access to a field that the library did not export.
func exported(field reflect.Value) reflect.Value {
	return reflect.NewAt(field.Type(), unsafe.Pointer(field.UnsafeAddr())).Elem()
}

func sameValue(a, b any) bool {
	x, ok := a.(*big.Int)
	if !ok {
		return a == b
	}
	y := b.(*big.Int)
	return x != nil && x.Cmp(y) == 0
}

func minusOne(p *big.Int) *big.Int { return new(big.Int).Sub(p, big.NewInt(1)) }
