-- Gives leased jobs back as they were, ahead of younger ones.
-- KEYS: the queue's nine. ARGV: prefix, then job and token per lease. Returns how many there were.
--! include place.lua
local moved = 0
for i = 2, #ARGV, 2 do
    local entry = take_back(ARGV[i], ARGV[i + 1])
    if entry then
        give_back(entry)
        moved = moved + 1
    end
end
write_waiting()
write_books()
return moved
