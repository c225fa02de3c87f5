// The firmware: passes bytes from the line to the link, forever.
#include "lnp_board.h"
#include "lnp_link.h"

static lnp_link_t link_state;

int main(void)
{
    lnp_board_init();
#ifdef LNP_WATCHDOG_MS
    lnp_board_watch();
#endif
    lnp_link_start(&link_state);
    for (;;) {
        uint8_t bytes[32];
        const size_t count = lnp_board_read(bytes, sizeof bytes);
        for (size_t i = 0; i < count; i++) {
            lnp_link_receive(&link_state, bytes[i]);
        }
    }
}
