-- Gives leased jobs back as they were, ahead of younger ones.
-- KEYS: the queue's nine, weights. ARGV: prefix, then job and token per lease. Returns how many there were.
-- What its tenant was charged for a job comes off its virtual time again; one with a loss behind it cost it nothing.
--! include place.lua
local moved = 0
local charged = {} -- per class and tenant, in ms
for i = 2, #ARGV, 2 do
    local entry = take_back(ARGV[i], ARGV[i + 1])
    if entry then
        local id, _, _, losses, cost = parse(entry)
        local album = album_of(id)
        if album.class and losses == '0' then
            local sums = charged[album.class] or {}
            sums[album.tenant] = (sums[album.tenant] or 0) + tonumber(cost)
            charged[album.class] = sums
        end
        give_back(entry)
        moved = moved + 1
    end
end
for class, sums in pairs(charged) do
    for tenant, cost in pairs(sums) do
        local weight = tonumber(call('HGET', KEYS[10], tenant) or 1) or 1
        local less = string.format('%.17g', -cost / (weight > 0 and weight or 1))
        if call('ZSCORE', active[class], tenant) then
            call('ZINCRBY', active[class], less, tenant)
        elseif call('HEXISTS', vtime[class], tenant) == 1 then
            call('HINCRBYFLOAT', vtime[class], tenant, less)
        end
    end
end
write_waiting() -- now, because who comes back joins the others where they are
write_books()
return moved
