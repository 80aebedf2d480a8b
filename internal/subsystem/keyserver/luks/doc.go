// Package luks gives LUKS2 volumes the keys that this node protects: it changes their key slots with the cryptsetup
// program ([Tool]) and hands keys to systemd-cryptsetup at boot ([KeySocket], the AF_UNIX key files of crypttab(5)).
// It never maps, formats or mounts a volume, and reads no crypttab.
//
// Keys are random bytes of protected things, not passphrases of people; a renewal changes the slots of the thing, and
// only a changed secret needs a changed slot of the volume.
package luks
