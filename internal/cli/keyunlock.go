package cli

import (
	"path/filepath"

	"github.com/spf13/cobra"

	"allclear/internal/wire"
)

// folderCommands lock and unlock folders that the kernel encrypts.
func (c *commands) folderCommands() []*cobra.Command {
	var name string
	encrypt := c.folderCommand("encrypt", "Encrypt an empty folder with a key that is kept sealed", `Have the kernel encrypt what will be made in an empty folder (ext4, f2fs or btrfs
with the encrypt feature), under a random key that is kept sealed as fscrypt/NAME
by the key servers, or by the local key. The folder is unlocked after it.`, &name)
	encrypt.Flags().StringVar(&name, "name", "", "what the key is kept as")
	return []*cobra.Command{
		encrypt,
		c.folderCommand("unlock", "Unlock an encrypted folder", `Find the key of an encrypted folder among those that are kept, and give it to the
kernel. Its files can be read then by whoever has the rights.`, nil),
		c.folderCommand("lock", "Lock an encrypted folder", `Take the key of an encrypted folder from the kernel: names and contents are
unreadable after it. Files that are open stay so until they are closed.`, nil),
	}
}

func (c *commands) folderCommand(verb, short, long string, name *string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " DIR", Short: short, Long: long, Args: exactly(1, "a folder"),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			in := wire.KeyFolderRequest{Dir: dir}
			if name != nil {
				if in.Name = *name; in.Name == "" {
					return usagef("allclear key encrypt DIR --name NAME", "the key needs a name")
				}
			}
			f, err := act[wire.KeyFolder](cmd.Context(), c, "keyserver", "folder-"+verb, in, nil)
			if err != nil {
				return err
			}
			c.show(f, func() {
				state := map[string]string{"present": "unlocked", "absent": "locked", "incompletely removed": "locked, but for files that are still open"}[f.State]
				c.out.line("%s is %s; the kernel calls its key %s", safe(f.Dir), or(state, safe(f.State)), safe(f.Key))
			}, "")
			return nil
		},
	}
}

func (c *commands) volumeCommand() *cobra.Command {
	var name, file string
	cmd := &cobra.Command{
		Use: "volume DEVICE", Short: "Give a LUKS2 volume a new key that is kept sealed",
		Long: `Give a LUKS2 volume a new random key that is kept sealed as luks/NAME, in place
of the one that is kept already, or, the first time, of the one that --file has:
the new slot is proved before the old one goes. Slots of others stay. crypttab(5)
names the socket of key_socket: in place of a key file.`,
		Args: exactly(1, "a device or an image"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if name == "" {
				return usagef("--name NAME: that of the volume in crypttab", "the volume needs a name")
			}
			device, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			in := wire.KeyVolumeRequest{Device: device, Name: name}
			if file != "" {
				if in.Key, err = c.readSecret(file, maxSecret, "key"); err != nil {
					return err
				}
			}
			bar := c.bar()
			v, err := act[wire.KeyVolume](cmd.Context(), c, "keyserver", "volume-rekey", in, bar.tell)
			bar.end()
			if err != nil {
				return err
			}
			c.show(v, func() {
				c.out.line("%s opens with the key that is kept as luks/%s; %s in use", safe(v.Device), safe(v.Name), count(len(v.Slots), "slot"))
			}, "")
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "what the key is kept as: the name of the volume")
	cmd.Flags().StringVar(&file, "file", "", "the file with the key that opens it now; - for standard input")
	return cmd
}
