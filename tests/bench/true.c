/* SPDX-License-Identifier: MIT
 * Ends well. */
int main(void)
{
    return 0;
}
